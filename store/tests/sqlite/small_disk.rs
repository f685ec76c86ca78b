//! A disk of 8 MiB: its log stays short, acknowledged records make room, and what does not fit is
//! refused in time.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use futures_util::future::join_all;
use store::{
    Ack, Durability, EmbeddedOptions, EmbeddedStore, NewRecord, OwnerKey, Standing, Store, StoreError, StoreOptions, disk_free,
    disk_size,
};

use crate::writing::{channel, record, whole};

/// Names the disk, for the process that runs the test on it.
const DISK: &str = "STORE_TEST_SMALL_DISK";
const MIB: usize = 1 << 20;
const BYTES: usize = 1_000;

/// The disk, if this process has one. Otherwise it runs the test of this name once more in a
/// process that has one, and fails as that one does; the caller then has nothing left to do. The
/// disk ends with its process.
fn small_disk(test: &str) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(DISK) {
        return Some(disk.into());
    }
    let dir = tempfile::tempdir().expect("a directory");
    let on_disk = |script: &str| {
        let mount = format!("mount -t tmpfs -o size=8m none '{}'", dir.path().display());
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", &format!("{mount} && {script}")]);
        command.env(DISK, dir.path()).stdin(Stdio::null());
        command
    };
    if !on_disk("true").output().is_ok_and(|output| output.status.success()) {
        // Written past the capture of output, so that tests/run-rust.sh can list it.
        let reason = "no disk can be mounted here (it takes user namespaces, and unshare of util-linux)";
        writeln!(std::io::stderr(), "skipped: {test}: {reason}").expect("writes");
        return None;
    }
    let program = std::env::current_exe().expect("this program");
    let script = format!("exec '{}' --exact small_disk::{test} --nocapture --test-threads 1", program.display());
    let output = on_disk(&script).output().expect("runs");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).contains("1 passed");
    assert!(output.status.success() && said, "{test} failed on a small disk");
    None
}

/// As the broker opens it.
fn open(disk: &Path, durability: Durability) -> Arc<EmbeddedStore> {
    let options = StoreOptions {
        embedded: EmbeddedOptions::with(durability),
        disk_reserve: disk_size(disk) / 10,
        ..StoreOptions::default()
    };
    Arc::new(EmbeddedStore::open(&disk.join("data"), options).expect("opens"))
}

/// Stores some messages of a kilobyte at once, of a sender. Returns the first refusal.
async fn put(store: &EmbeddedStore, count: u32) -> Result<u64, StoreError> {
    let key = OwnerKey {
        standing: Standing::Agent,
        sender: "agent:a".to_owned(),
        user: None,
        address: None,
        key: Some("k".to_owned()),
    };
    let owner = store.owner(&key);
    let numbers = store.reserve(count).await?;
    let last = numbers.end - 1;
    let records = numbers.map(|seq| NewRecord { owner: Some(Arc::clone(&owner)), ..record("agent:a", seq, BYTES) });
    let answers = join_all(records.map(|record| store.append(vec![record]))).await;
    answers.into_iter().collect::<Result<Vec<_>, _>>().map(|_| last)
}

async fn what_is_acknowledged_makes_room(durability: Durability, disk: &Path) {
    let store = open(disk, durability);
    // Five times as much as the disk holds.
    for round in 0..40 * MIB / BYTES / 50 {
        let last = put(&store, 50).await.unwrap_or_else(|error| panic!("{error} in round {round}: {:?}", store.health()));
        store.ack(channel("agent:a"), Ack::Through(last)).await.unwrap();
    }
    assert!(store.health().is_ready());

    // Nothing is acknowledged any more: most of the disk is used, and the rest is refused before a
    // write fails.
    let mut stored = 0;
    let refused = loop {
        match put(&store, 10).await {
            Ok(_) => stored += 10 * BYTES,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, StoreError::DiskReserve { .. }), "{refused:?} after {stored}: {:?}", store.health());
    assert!(stored > 4 * MIB, "{stored} of {}: {:?}", 8 * MIB, store.health());
    assert!(store.health().fault.is_none_or(|fault| fault == refused), "{:?}", store.health());
    let waiting = whole(&*store, "agent:a").await;
    assert!(waiting.len() * BYTES >= stored);

    // What is acknowledged then makes room.
    drop(store);
    let store = open(disk, durability);
    let seqs: Vec<u64> = waiting.into_keys().collect();
    for through in seqs.chunks(50).filter_map(|some| some.last()) {
        store.ack(channel("agent:a"), Ack::Through(*through)).await.unwrap();
    }
    for _ in 0..500 {
        store.trim(0, 1_000).await.unwrap();
        if put(&store, 50).await.is_ok() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("acknowledging frees nothing: {:?}", store.health());
}

#[tokio::test]
async fn eight_mebibytes_pass_forty_and_hold_half_with_fsync() {
    if let Some(disk) = small_disk("eight_mebibytes_pass_forty_and_hold_half_with_fsync") {
        what_is_acknowledged_makes_room(Durability::Fsync, &disk).await;
    }
}

#[tokio::test]
async fn eight_mebibytes_pass_forty_and_hold_half_without_fsync() {
    if let Some(disk) = small_disk("eight_mebibytes_pass_forty_and_hold_half_without_fsync") {
        what_is_acknowledged_makes_room(Durability::Process, &disk).await;
    }
}

/// Bytes with which the broker says that a start succeeds.
const START_BYTES: u64 = 1 << 20;

#[tokio::test]
async fn a_start_without_any_room_changes_nothing_and_a_mebibyte_is_enough() {
    let Some(disk) = small_disk("a_start_without_any_room_changes_nothing_and_a_mebibyte_is_enough") else { return };
    for durability in [Durability::Fsync, Durability::Process] {
        let store = open(&disk, durability);
        let (epoch, last) = (store.epoch(), put(&store, 1_000).await.unwrap());
        let before = whole(&*store, "agent:a").await;
        drop(store);
        let ballast = disk.join("ballast");
        fill(&ballast, u64::MAX);
        assert_eq!(disk_free(&disk), 0);
        let refused = EmbeddedStore::open(&disk.join("data"), StoreOptions::default()).err();
        assert_eq!(refused, Some(StoreError::DiskFull), "{durability:?}");

        // So much is free then, and no more.
        let size = std::fs::metadata(&ballast).unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&ballast).unwrap().set_len(size - START_BYTES).unwrap();
        let store = open(&disk, durability);
        assert_eq!(store.epoch(), epoch);
        assert_eq!(whole(&*store, "agent:a").await, before);
        assert!(before.keys().next_back() == Some(&last));
        store.ack(channel("agent:a"), Ack::Through(last)).await.unwrap();
        drop(store);
        std::fs::remove_file(&ballast).unwrap();
        std::fs::remove_dir_all(disk.join("data")).unwrap();
    }
}

/// Writes a file of so many bytes, or until the disk is full.
fn fill(path: &Path, bytes: u64) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    for size in [4096, 1] {
        let block = vec![0; size];
        while file.metadata().unwrap().len() < bytes && file.write_all(&block).is_ok() {}
    }
}
