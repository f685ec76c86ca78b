//! `kill -9` at random moments: a child writes and prints what was confirmed; the parent kills it
//! and checks.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use store::{Ack, Durability, EmbeddedOptions, EmbeddedStore, Store, StoreOptions, operators};

use crate::{
    chance::{Chance, scaled},
    writing::{Shown, channel, put, record, unbounded},
};

const WRITERS: usize = 8;
const DIR: &str = "STORE_KILL_DIR";
const DURABILITY: &str = "STORE_KILL_DURABILITY";

fn options(durability: &str) -> StoreOptions {
    let durability = if durability == "fsync" { Durability::Fsync } else { Durability::Process };
    StoreOptions {
        embedded: EmbeddedOptions { durability, checkpoint_bytes: 256 * 1024, ..EmbeddedOptions::default() },
        ..unbounded()
    }
}

fn say(line: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    // If the parent has gone, nobody listens.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Not a test: what the child runs until it is killed.
#[test]
#[ignore = "run by the tests below, in a process of its own"]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let durability = std::env::var(DURABILITY).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(EmbeddedStore::open(Path::new(&dir), options(&durability)).unwrap());
        let writers = (0..WRITERS).map(|writer| write(Arc::clone(&store), writer));
        futures_util::future::join_all(writers).await;
    });
}

async fn write(store: Arc<EmbeddedStore>, writer: usize) {
    let name = format!("agent:{writer}");
    loop {
        let block = store.reserve(16).await.unwrap();
        say(format_args!("reserved {} {}", block.start, block.end));
        for seq in block {
            store.append(vec![record(&name, seq, 300)]).await.unwrap();
            say(format_args!("confirmed {name} {seq} m{seq}"));
            if seq % 3 == 0 {
                store.ack(channel(&name), Ack::Each(vec![seq])).await.unwrap();
                say(format_args!("acknowledged {name} {seq}"));
            }
        }
    }
}

/// Parses a line of the child. A line that the kill cut off is ignored.
fn hear(shown: &mut Shown, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["reserved", start, end] => shown.reserved(start.parse().unwrap(), end.parse().unwrap()),
        ["confirmed", name, seq, id] => shown.confirmed(name, seq.parse().unwrap(), id),
        ["acknowledged", name, seq] => shown.acknowledged(name, seq.parse().unwrap()),
        _ => {}
    }
}

fn start(dir: &Path, durability: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(DURABILITY, durability)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn kill_again_and_again(durability: &str, rounds: usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut chance = Chance::from_environment("kill -9");
    let mut shown = Shown::default();
    let mut epoch = None;
    for _ in 0..rounds {
        let mut child = start(dir.path(), durability);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut lines_to_hear = 1 + chance.below(600);
        let mut line = String::new();
        // Everything in the pipe was written before the end, so it is read to the last complete
        // line.
        while lines.read_line(&mut line).unwrap() > 0 {
            if let Some(whole) = line.strip_suffix('\n') {
                hear(&mut shown, whole);
            }
            line.clear();
            lines_to_hear = lines_to_hear.saturating_sub(1);
            if lines_to_hear == 0 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();

        let store = EmbeddedStore::open(dir.path(), options(durability)).unwrap();
        let report = operators::check(dir.path()).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        assert_eq!(*epoch.get_or_insert(store.epoch()), store.epoch());
        shown.hold_in(&store).await;
        let block = store.reserve(1).await.unwrap();
        shown.reserved(block.start, block.end);
    }
    println!(
        "{durability}: {rounds} kills, {} confirmed, 0 lost, {} blocks of numbers, 0 shared",
        shown.count(),
        shown.blocks.len()
    );
    assert!(shown.count() > 0);
}

#[tokio::test]
async fn nothing_confirmed_is_lost_to_kill_9_with_fsync() {
    kill_again_and_again("fsync", scaled(3, 200)).await;
}

#[tokio::test]
async fn nothing_confirmed_is_lost_to_kill_9_without_fsync() {
    kill_again_and_again("process", scaled(3, 200)).await;
}

/// From an empty directory to the first reserved number.
#[tokio::test]
async fn a_store_that_is_killed_while_it_is_made_opens() {
    let mut chance = Chance::from_environment("kill -9 at the start");
    let mut unfinished = 0;
    let rounds = scaled(5, 200);
    for _ in 0..rounds {
        let dir = tempfile::tempdir().unwrap();
        let mut child = start(dir.path(), "fsync");
        while std::fs::read_dir(dir.path()).unwrap().next().is_none() {
            std::thread::yield_now();
        }
        let moment = std::time::Duration::from_micros(chance.next() % 8_000);
        let begun = std::time::Instant::now();
        while begun.elapsed() < moment {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        unfinished += usize::from(operators::check(dir.path()).is_err());
        let store = Arc::new(EmbeddedStore::open(dir.path(), options("fsync")).unwrap());
        put(&store, "agent:a", 300).await.unwrap();
        assert_eq!(operators::check(dir.path()).unwrap().problems, Vec::<String>::new());
    }
    println!("{rounds} kills, {unfinished} before there was a store");
}
