//! The power fails while the store is written: what was confirmed is there, or the epoch says that
//! it may not be.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use store::{Ack, Durability, EmbeddedOptions, EmbeddedStore, Store, StoreOptions, operators};

use crate::{
    chance::{Chance, scaled},
    fault_disk::{FaultDisk, VFS},
    writing::{Shown, channel, record, unbounded},
};

const WRITERS: usize = 8;
/// Cuts of one store.
const CUTS: usize = 10;

fn options(durability: Durability) -> StoreOptions {
    // So that pages are copied from the log into the file, and the log starts again, many times
    // between two cuts.
    StoreOptions {
        embedded: EmbeddedOptions { checkpoint_bytes: 64 * 1024, vfs: Some(VFS.to_owned()), ..EmbeddedOptions::with(durability) },
        ..unbounded()
    }
}

/// Appends and acknowledges until told to stop, and records what was confirmed.
async fn write(store: Arc<EmbeddedStore>, shown: Arc<Mutex<Shown>>, stop: Arc<AtomicBool>, writer: usize) {
    let name = format!("agent:{writer}");
    while !stop.load(Ordering::Relaxed) {
        let block = store.reserve(8).await.expect("reserved");
        shown.lock().unwrap().reserved(block.start, block.end);
        for seq in block {
            let bytes = 50 + usize::try_from(seq % 7).unwrap() * 400;
            store.append(vec![record(&name, seq, bytes)]).await.expect("appended");
            shown.lock().unwrap().confirmed(&name, seq, &format!("m{seq}"));
            if seq % 3 == 0 {
                store.ack(channel(&name), Ack::Each(vec![seq])).await.expect("acknowledged");
                shown.lock().unwrap().acknowledged(&name, seq);
            }
            if seq % 61 == 0 {
                store.trim(seq, 10).await.expect("trimmed");
            }
        }
    }
}

/// Several stores, each with several cuts.
async fn cut_again_and_again(
    durability: Durability,
    stores: usize,
    look: impl AsyncFn(&std::path::Path, &EmbeddedStore, &Shown),
) {
    let mut checked = 0;
    for _ in 0..stores {
        checked += cut_one_store(durability, &look).await;
    }
    println!("{durability:?}: {} power cuts, {checked} confirmations looked for", stores * CUTS);
}

/// Cuts the power again and again while `WRITERS` write, and checks what each cut left.
async fn cut_one_store(durability: Durability, look: &impl AsyncFn(&std::path::Path, &EmbeddedStore, &Shown)) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultDisk::under(dir.path());
    let mut chance = Chance::from_environment("power cuts");
    let store = Arc::new(EmbeddedStore::open(dir.path(), options(durability)).unwrap());
    let shown = Arc::new(Mutex::new(Shown::default()));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(Arc::clone(&store), Arc::clone(&shown), Arc::clone(&stop), writer)))
        .collect();
    let mut checked = 0;
    for _ in 0..CUTS {
        let wanted = shown.lock().unwrap().count() + 1 + chance.below(150);
        while shown.lock().unwrap().count() < wanted {
            tokio::task::yield_now().await;
        }
        // First the confirmations, then the cut: what is confirmed in between is not looked for.
        let before = shown.lock().unwrap().clone();
        let after = tempfile::tempdir().unwrap();
        disk.cut_power(after.path(), &mut chance);
        look(after.path(), &store, &before).await;
        checked += before.count();
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(disk.syncs() > 0);
    checked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn confirmed_messages_survive_a_power_cut_with_fsync() {
    cut_again_and_again(Durability::Fsync, scaled(2, 40), async |dir, before, shown| {
        let report = operators::check(dir).expect("readable");
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        let store = EmbeddedStore::open(dir, unbounded()).unwrap();
        assert_eq!(store.epoch(), before.epoch());
        shown.hold_in(&store).await;
        let next = store.reserve(1).await.unwrap().start;
        assert!(shown.blocks.values().all(|end| *end <= next), "numbers would be given again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_power_cut_without_fsync_begins_a_new_epoch_and_gives_no_number_twice() {
    cut_again_and_again(Durability::Process, scaled(1, 20), async |dir, before, shown| {
        let machine = rusqlite::Connection::open(dir.join(store::DATABASE)).unwrap();
        machine.execute("UPDATE meta SET value = 'the boot before' WHERE name = 'boot'", []).unwrap();
        drop(machine);
        let report = operators::check(dir).expect("readable");
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        let store = EmbeddedStore::open(dir, unbounded()).unwrap();
        assert_ne!(store.epoch(), before.epoch());
        let next = store.reserve(1).await.unwrap().start;
        assert!(shown.blocks.values().all(|end| *end <= next), "numbers would be given again");
    })
    .await;
}
