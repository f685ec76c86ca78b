//! Opening each backend, and short helpers to write records.

use std::{collections::VecDeque, ops::Deref, sync::Arc};

use bytes::Bytes;
use common::envelope::Priority;
use store::{
    Appended, ChannelName, Durability, EmbeddedOptions, EmbeddedStore, FirstDelivery, Limits, MemoryStore, NewRecord, Page,
    ReadFrom, Store, StoreError, StoreOptions,
};
use tempfile::TempDir;

/// The store of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Memory,
    Fsync,
    Process,
}

impl Backend {
    pub fn outlives_its_process(self) -> bool {
        self != Self::Memory
    }
}

/// Makes a test per backend of each `async fn(Backend)`.
macro_rules! contract {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $case() { super::$case(crate::harness::Backend::Memory).await })*
        }
        mod sqlite_fsync {
            $(#[tokio::test] async fn $case() { super::$case(crate::harness::Backend::Fsync).await })*
        }
        mod sqlite_process {
            $(#[tokio::test] async fn $case() { super::$case(crate::harness::Backend::Process).await })*
        }
    };
}
pub(crate) use contract;

/// A store under test.
pub struct Subject {
    store: Option<Arc<dyn Store>>,
    backend: Backend,
    options: StoreOptions,
    dir: TempDir,
    numbers: VecDeque<u64>,
}

impl Deref for Subject {
    type Target = dyn Store;
    fn deref(&self) -> &Self::Target {
        &**self.store.as_ref().expect("open")
    }
}

impl Subject {
    pub fn open(backend: Backend) -> Self {
        Self::open_with(backend, StoreOptions::default())
    }

    pub fn open_with(backend: Backend, options: StoreOptions) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut subject = Self { store: None, backend, options, dir, numbers: VecDeque::new() };
        subject.store = Some(subject.opened());
        subject
    }

    fn opened(&self) -> Arc<dyn Store> {
        let durability = match self.backend {
            Backend::Memory => return Arc::new(MemoryStore::new(self.options.clone()).expect("opens")),
            Backend::Fsync => Durability::Fsync,
            Backend::Process => Durability::Process,
        };
        let options = StoreOptions { embedded: EmbeddedOptions::with(durability), ..self.options.clone() };
        Arc::new(EmbeddedStore::open(self.dir.path(), options).expect("opens"))
    }

    /// Closes and opens again, if that keeps the content.
    pub fn reopen(&mut self) {
        if self.backend.outlives_its_process() {
            self.store = None;
            self.store = Some(self.opened());
        }
    }

    /// Damages a stored record without the store's knowledge. Returns whether this backend supports
    /// that.
    pub fn damage(&self, seq: u64) -> bool {
        if !self.backend.outlives_its_process() {
            return false;
        }
        let conn = rusqlite::Connection::open(self.dir.path().join(store::DATABASE)).expect("opens");
        conn.busy_timeout(std::time::Duration::from_secs(5)).expect("set");
        let changed = conn.execute("UPDATE records SET frame = zeroblob(length(frame)) WHERE seq = ?1", [seq]);
        assert_eq!(changed, Ok(1));
        true
    }

    /// The same with other options.
    pub fn reopen_with(&mut self, options: StoreOptions) {
        self.options = options;
        self.reopen();
    }

    /// The next reserved number.
    pub async fn number(&mut self) -> u64 {
        if self.numbers.is_empty() {
            self.numbers.extend(self.reserve(64).await.expect("reserved"));
        }
        self.numbers.pop_front().expect("a number")
    }

    /// A record with a new number and id; the time is the number.
    pub async fn record(&mut self, name: &str) -> NewRecord {
        let seq = self.number().await;
        NewRecord {
            channel: channel(name),
            seq,
            prev: 0,
            message_id: format!("m{seq}"),
            source: "agent:a".to_owned(),
            key: None,
            frame: Bytes::from(format!("{{\"n\":{seq}}}")),
            priority: Priority::Normal,
            expires_at: None,
            stored_at: seq,
            delivery: None,
            owner: None,
            is_charged: false,
        }
    }

    /// A record that must be acknowledged.
    pub async fn letter(&mut self, name: &str) -> NewRecord {
        NewRecord { delivery: Some(FirstDelivery { attempts: 0, due_at: 0 }), ..self.record(name).await }
    }

    /// Appends one record; returns its number.
    pub async fn put(&self, record: NewRecord) -> u64 {
        self.put_all(vec![record]).await.first().map(Appended::seq).expect("one answer")
    }

    pub async fn put_all(&self, records: Vec<NewRecord>) -> Vec<Appended> {
        self.append(records).await.expect("appended")
    }

    pub async fn page(&self, name: &str, from: ReadFrom) -> Page {
        self.read(channel(name), from, Limits { records: 1_000, bytes: u64::MAX }).await.expect("read")
    }

    /// The numbers in a channel's log.
    pub async fn numbers(&self, name: &str) -> Vec<u64> {
        self.page(name, ReadFrom::After(0)).await.records.iter().map(|record| record.seq).collect()
    }

    pub async fn refusal(&self, record: NewRecord) -> StoreError {
        self.append(vec![record]).await.expect_err("refused")
    }
}

pub fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("a channel")
}
