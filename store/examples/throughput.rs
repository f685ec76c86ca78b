//! Rows per second of 64 concurrent appenders of 300 bytes, at each durability.
//!
//! `cargo run --release -p store --example throughput [directory] [seconds]`; the directory decides which disk is measured.
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
use store::{Ack, ChannelName, Durability, FirstDelivery, NewRecord, Store, StoreOptions};

const APPENDERS: usize = 64;
const BYTES: usize = 300;

/// What the appenders do.
#[derive(Clone, Copy)]
enum Work {
    /// To one inbox each, acknowledged at once.
    Inboxes,
    /// All to one topic.
    Topic,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(5);
    println!("{APPENDERS} appenders, {BYTES} B, {seconds} s each, in {}", dir.display());
    println!("{:<10} {:<9} {:>9} {:>8} {:>10} {:>9} {:>9}", "durability", "work", "rows/s", "rows/tx", "mean", "p50", "p99");
    for durability in [Durability::Fsync, Durability::Process, Durability::Memory] {
        for work in [Work::Topic, Work::Inboxes] {
            let place = tempfile::tempdir_in(&dir).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(measure(place.path(), durability, work, Duration::from_secs(seconds)));
        }
    }
}

async fn measure(dir: &Path, durability: Durability, work: Work, time: Duration) {
    let store = store::open(dir, StoreOptions { durability, ..StoreOptions::default() }).unwrap();
    let numbers = Arc::new(Numbers::new(Arc::clone(&store)));
    let begun = Instant::now();
    let deadline = begun + time;
    let appenders: Vec<_> =
        (0..APPENDERS).map(|appender| append(Arc::clone(&store), Arc::clone(&numbers), work, appender, deadline)).collect();
    let mut waits: Vec<u64> = futures_util::future::join_all(appenders).await.into_iter().flatten().collect();
    let took = begun.elapsed();
    let health = store.health();
    waits.sort_unstable();
    let at = |part: f64| waits.get((waits.len() as f64 * part) as usize).copied().unwrap_or(0);
    let (name, rows) = (if matches!(work, Work::Topic) { "topic" } else { "inboxes" }, waits.len() as f64);
    println!(
        "{:<10} {:<9} {:>9.0} {:>8.1} {:>7.0} us {:>6} us {:>6} us",
        durability.as_str(),
        name,
        rows / took.as_secs_f64(),
        rows / health.commits as f64,
        waits.iter().sum::<u64>() as f64 / rows,
        at(0.5),
        at(0.99),
    );
    store.close().await.unwrap();
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
    let (name, delivery) = match work {
        Work::Topic => ("topic:all".to_owned(), None),
        Work::Inboxes => (format!("agent:{appender}"), Some(FirstDelivery { attempts: 1, due_at: u64::MAX })),
    };
    let channel = ChannelName::parse(&name).unwrap();
    let frame = Bytes::from(vec![b'x'; BYTES]);
    let mut waits = Vec::new();
    while Instant::now() < deadline {
        let stored_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let seq = numbers.next().await;
        let record = NewRecord {
            channel: channel.clone(),
            seq,
            prev: 0,
            message_id: format!("message-{seq}-of-thirty-six-characters"),
            source: format!("session:{appender}"),
            frame: frame.clone(),
            priority: Priority::Normal,
            expires_at: None,
            stored_at,
            delivery,
        };
        let asked = Instant::now();
        store.append(vec![record]).await.unwrap();
        waits.push(asked.elapsed().as_micros() as u64);
        if delivery.is_some() {
            drop(store.ack(channel.clone(), Ack::Each(vec![seq])));
        }
    }
    waits
}
