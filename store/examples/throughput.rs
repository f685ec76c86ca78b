//! Rows per second of 64 concurrent appenders of 300 bytes, and the processor time of each, at each
//! durability; then how long it takes to open a store with full inboxes and to give everybody what
//! waited.
//!
//! `cargo run --release -p store --example throughput [directory] [seconds]`; the directory decides
//! which disk is measured.
#![allow(clippy::unwrap_used, reason = "a measuring tool")]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use common::envelope::Priority;
use store::{
    Ack, Backend, ChannelName, Durability, EmbeddedOptions, FirstDelivery, Limits, NewRecord, PendingQuery, Store, StoreOptions,
};

const APPENDERS: usize = 64;
const BYTES: usize = 300;

/// What the appenders do.
#[derive(Clone, Copy)]
enum Work {
    /// To one inbox each, acknowledged at once.
    Inboxes,
    /// To one inbox each that nobody reads; to the next one before it is full.
    Absent,
    /// All to one topic.
    Topic,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(5);
    println!("{APPENDERS} appenders, {BYTES} B, {seconds} s each, in {}", dir.display());
    println!("durability work         rows/s   CPU/row  rows/tx       mean       p50       p99");
    let kinds = [
        (Backend::Embedded, Durability::Fsync),
        (Backend::Embedded, Durability::Process),
        (Backend::Memory, Durability::Process),
    ];
    for (backend, durability) in kinds {
        for work in [Work::Topic, Work::Inboxes, Work::Absent] {
            let place = tempfile::tempdir_in(&dir).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(measure(place.path(), backend, durability, work, Duration::from_secs(seconds)));
        }
    }
    let place = tempfile::tempdir_in(&dir).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(return_of_all(place.path()));
}

/// 1,000 inboxes with 100 records each: written, opened again, read by all at once.
async fn return_of_all(dir: &Path) {
    const INBOXES: usize = 1_000;
    const RECORDS: u64 = 100;
    let options = StoreOptions { embedded: EmbeddedOptions::with(Durability::Process), ..StoreOptions::default() };
    let inbox = |number: usize| ChannelName::parse(&format!("agent:{number}")).unwrap();
    let store = store::open(Backend::Embedded, dir, options.clone()).await.unwrap();
    let mut numbers = store.reserve(100_000).await.unwrap();
    for number in 0..INBOXES {
        let delivery = Some(FirstDelivery { attempts: 0, due_at: 0 });
        let records = numbers.by_ref().take(RECORDS as usize).map(|seq| record(inbox(number), seq, "agent:x", delivery));
        store.append(records.collect()).await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let begun = Instant::now();
    let store = store::open(Backend::Embedded, dir, options).await.unwrap();
    let opened = begun.elapsed();
    let query = PendingQuery { due_before: u64::MAX, after: 0, limits: Limits { records: 1_000, bytes: u64::MAX } };
    let reads = (0..INBOXES).map(|number| store.pending(inbox(number), query));
    let found: usize = futures_util::future::join_all(reads).await.into_iter().map(|found| found.unwrap().len()).sum();
    let read = begun.elapsed() - opened;
    let acks = (0..INBOXES).map(|number| store.ack(inbox(number), Ack::Through(u64::MAX)));
    let settled: usize = futures_util::future::join_all(acks).await.into_iter().map(|settled| settled.unwrap().len()).sum();
    let acknowledged = begun.elapsed() - opened - read;
    println!(
        "{INBOXES} inboxes, {found} records: opened in {opened:.1?}, read in {read:.1?}, {settled} acknowledged in {acknowledged:.1?}"
    );
}

fn record(channel: ChannelName, seq: u64, source: &str, delivery: Option<FirstDelivery>) -> NewRecord {
    let stored_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    NewRecord {
        channel,
        seq,
        prev: 0,
        message_id: format!("message-{seq}-of-thirty-six-characters"),
        source: source.to_owned(),
        key: None,
        frame: Bytes::from_static(&[b'x'; BYTES]),
        priority: Priority::Normal,
        expires_at: None,
        stored_at,
        delivery,
        owner: None,
        is_charged: false,
    }
}

async fn measure(dir: &Path, backend: Backend, durability: Durability, work: Work, time: Duration) {
    let store =
        store::open(backend, dir, StoreOptions { embedded: EmbeddedOptions::with(durability), ..StoreOptions::default() })
            .await
            .unwrap();
    let numbers = Arc::new(Numbers::new(Arc::clone(&store)));
    let (begun, busy) = (Instant::now(), cpu());
    let deadline = begun + time;
    let appenders: Vec<_> =
        (0..APPENDERS).map(|appender| append(Arc::clone(&store), Arc::clone(&numbers), work, appender, deadline)).collect();
    let mut waits: Vec<u64> = futures_util::future::join_all(appenders).await.into_iter().flatten().collect();
    let (took, busy) = (begun.elapsed(), cpu() - busy);
    let health = store.health();
    waits.sort_unstable();
    let at = |part: f64| waits.get((waits.len() as f64 * part) as usize).copied().unwrap_or(0);
    let name = match work {
        Work::Topic => "topic",
        Work::Inboxes => "inboxes",
        Work::Absent => "absent",
    };
    let rows = waits.len() as f64;
    println!(
        "{:<10} {:<9} {:>9.0} {:>6.1} us {:>8.1} {:>7.0} us {:>6} us {:>6} us",
        if backend == Backend::Memory { "memory" } else { durability.as_str() },
        name,
        rows / took.as_secs_f64(),
        busy.as_micros() as f64 / rows,
        rows / health.commits as f64,
        waits.iter().sum::<u64>() as f64 / rows,
        at(0.5),
        at(0.99),
    );
    store.close().await.unwrap();
}

/// Processor time of this process so far.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Sequence numbers in the order in which they are asked for, as the router gives them.
struct Numbers {
    store: Arc<dyn Store>,
    next: AtomicU64,
    end: AtomicU64,
}

impl Numbers {
    fn new(store: Arc<dyn Store>) -> Self {
        Self { store, next: AtomicU64::new(0), end: AtomicU64::new(0) }
    }

    /// On one thread; whoever finds the block used up takes a new one for all.
    async fn next(&self) -> u64 {
        while self.next.load(Ordering::Relaxed) >= self.end.load(Ordering::Relaxed) {
            let block = self.store.reserve(65_536).await.unwrap();
            if self.next.load(Ordering::Relaxed) >= self.end.load(Ordering::Relaxed) {
                self.next.store(block.start, Ordering::Relaxed);
                self.end.store(block.end, Ordering::Relaxed);
            }
        }
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

async fn append(store: Arc<dyn Store>, numbers: Arc<Numbers>, work: Work, appender: usize, deadline: Instant) -> Vec<u64> {
    let delivery = match work {
        Work::Topic => None,
        Work::Inboxes | Work::Absent => Some(FirstDelivery { attempts: 1, due_at: u64::MAX }),
    };
    let source = format!("session:{appender}");
    let mut waits = Vec::new();
    while Instant::now() < deadline {
        let seq = numbers.next().await;
        let name = match work {
            Work::Topic => "topic:all".to_owned(),
            Work::Inboxes => format!("agent:{appender}"),
            Work::Absent => format!("agent:{appender}-{}", waits.len() / 8_192),
        };
        let channel = ChannelName::parse(&name).unwrap();
        let record = record(channel.clone(), seq, &source, delivery);
        let asked = Instant::now();
        store.append(vec![record]).await.unwrap();
        waits.push(asked.elapsed().as_micros() as u64);
        if matches!(work, Work::Inboxes) {
            drop(store.ack(channel, Ack::Each(vec![seq])));
        }
    }
    waits
}
