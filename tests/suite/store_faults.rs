//! What operators may meet: a full disk, a folder that cannot be written, a damaged file, a backup
//! while serving.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::{AGENT_KEY, Peer, Site, eventually, program, request};

/// More than fits a file of [`SMALL_FILE`] bytes.
const LARGE: usize = 100_000;
const SMALL_FILE: u64 = 64 * 1024;

fn message(id: &str, bytes: usize) -> Value {
    json!({"type":"job:new","id":id,"target":"agent:worker","delivery":"durable","payload":"x".repeat(bytes)})
}

/// Sends and waits for the confirmation, which must come.
async fn store(sender: &mut Peer, id: &str, bytes: usize) {
    sender.send(message(id, bytes)).await;
    let accepted = sender.expect("message:accepted").await;
    assert_eq!((&accepted["correlation_id"], &accepted["payload"]["duplicate"]), (&json!(id), &json!(false)), "{accepted}");
}

/// Sends and waits for the refusal, which must come.
async fn fail_to_store(sender: &mut Peer, id: &str, bytes: usize) {
    sender.send(message(id, bytes)).await;
    let told = sender.next().await;
    assert_eq!((&told["type"], &told["correlation_id"]), (&json!("system:error"), &json!(id)), "{told}");
    assert_eq!((&told["payload"]["code"], &told["payload"]["temporary"]), (&json!("store_unavailable"), &json!(true)), "{told}");
}

/// The ids of what waits for the worker, which takes it without acknowledging it.
async fn waiting(site: &Site, count: usize) -> Vec<String> {
    let mut worker = Peer::dial(site.broker, "/ws/agent?agent_id=worker&ack=explicit", AGENT_KEY).await.expect("upgraded");
    let mut ids = Vec::new();
    while ids.len() < count {
        ids.push(worker.expect("job:new").await["id"].as_str().expect("an id").to_owned());
    }
    ids
}

async fn readiness(site: &Site) -> (u16, Value) {
    let answer = request(site.broker, "GET", "/health/ready", None).await.expect("the broker answers");
    (answer.status, answer.json)
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|part| String::from_utf8_lossy(part)).concat()
}

#[tokio::test]
async fn a_full_disk_is_reported_and_the_service_resumes_by_itself() {
    let site = Site::new();
    let mut broker = site.broker_alone().await;
    let mut sender = site.agent("sender").await;
    for id in ["1", "2"] {
        store(&mut sender, id, LARGE).await;
    }

    broker.limit_files(Some(SMALL_FILE));
    for id in ["3", "4", "3"] {
        fail_to_store(&mut sender, id, LARGE).await;
    }
    let (status, told) = readiness(&site).await;
    assert_eq!((status, &told["error"]["code"]), (503, &json!("store_unavailable")), "{told}");
    assert!(site.stats().await["store"]["fault"].is_string());
    // Everything else goes on.
    let mut live = site.agent("live").await;
    sender.send(json!({"type":"message:send","id":"5","target":"agent:live","delivery":"ephemeral","payload":null})).await;
    assert_eq!(live.expect("message:send").await["id"], "5");

    broker.limit_files(None);
    // Nobody sends: only the broker itself can find out.
    eventually("the broker is ready again", async || readiness(&site).await.0 == 200).await;
    assert_eq!(waiting(&site, 2).await, ["1", "2"]);
    for id in ["3", "4"] {
        store(&mut sender, id, LARGE).await;
    }
    broker.kill();
    let _broker = site.broker_alone().await;
    assert_eq!(waiting(&site, 4).await, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_disk_so_full_that_not_even_the_log_can_be_written_does_not_end_the_broker() {
    let site = Site::new();
    let broker = site.broker_alone().await;
    let mut sender = site.agent("sender").await;
    store(&mut sender, "1", 300).await;
    broker.limit_files(Some(0));
    for _ in 0..3 {
        fail_to_store(&mut sender, "2", 300).await;
    }
    assert_eq!(readiness(&site).await.0, 503);
    broker.limit_files(None);
    eventually("the broker is ready again", async || readiness(&site).await.0 == 200).await;
    store(&mut sender, "2", 300).await;
    assert_eq!(waiting(&site, 2).await, ["1", "2"]);
}

/// Runs the broker until it ends by itself. Root may write everything, so it runs without that
/// right.
fn run_broker(site: &Site) -> Output {
    let mut command = program();
    if rustix::process::getuid().is_root() {
        let program = command.get_program().to_owned();
        command = Command::new("setpriv");
        command.arg("--bounding-set=-dac_override,-dac_read_search").arg(program);
    }
    let addr = site.broker.to_string();
    command.args(["broker", "--broker-addr", &addr]).env("DATA_DIR", site.data()).env("AGENT_TOKEN", AGENT_KEY);
    command.output().expect("runs")
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("its owner may");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_reported_at_the_start() {
    let site = Site::new();
    let mut broker = site.broker_alone().await;
    store(&mut site.agent("sender").await, "1", 300).await;
    broker.kill();
    let files: Vec<_> = fs::read_dir(site.data()).expect("a folder").map(|file| file.expect("a file").path()).collect();
    files.iter().for_each(|file| set_mode(file, 0o400));
    set_mode(&site.data(), 0o555);
    let said = run_broker(&site);
    set_mode(&site.data(), 0o755);
    files.iter().for_each(|file| set_mode(file, 0o600));
    assert_eq!(said.status.code(), Some(1), "{}", text(&said));
    let names_it = text(&said).contains("data.dir") && text(&said).contains("Permission denied");
    assert!(names_it && !text(&said).contains("panicked"), "{}", text(&said));

    let _broker = site.broker_alone().await;
    assert_eq!(waiting(&site, 1).await, ["1"]);
}

#[tokio::test]
async fn a_damaged_file_is_reported_and_a_backup_made_while_serving_replaces_it() {
    const OPERATOR: &str = "an-operator-token-of-the-suite-of-32-bytes";
    let site = Site::new().with("broker.operator_token", OPERATOR);
    let mut broker = site.broker_alone().await;
    let mut sender = site.agent("sender").await;
    let ids: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    for id in &ids {
        store(&mut sender, id, 10_000).await;
    }
    let backup = site.data().with_file_name("backup.db");
    let backup = backup.to_str().expect("a path");
    let made = site.run(&["store", "backup", backup]);
    assert!(made.status.success(), "{}", text(&made));
    let refused = site.run(&["store", "restore", backup]);
    assert!(!refused.status.success() && text(&refused).contains("in use"), "{}", text(&refused));
    store(&mut sender, "after the backup", 300).await;
    broker.terminate();
    assert_eq!(broker.exit_code().await, 0);

    // Everything but the first page, which says that it is a store.
    let mut file = OpenOptions::new().write(true).open(site.data().join("bridge.db")).expect("the store's file");
    let length = usize::try_from(file.metadata().expect("a size").len()).expect("a size");
    file.seek(SeekFrom::Start(4096)).expect("seeks");
    file.write_all(&vec![0xa5; length - 4096]).expect("writes");
    drop(file);
    for said in [site.run(&["store", "check"]), run_broker(&site)] {
        assert_eq!(said.status.code(), Some(1), "{}", text(&said));
        assert!(text(&said).contains("damaged") && text(&said).contains("restore a backup"), "{}", text(&said));
    }

    let restored = site.run(&["store", "restore", backup]);
    assert!(restored.status.success() && text(&restored).contains("restored 50 records"), "{}", text(&restored));
    let checked = site.run(&["store", "check"]);
    assert!(checked.status.success(), "{}", text(&checked));
    let compacted = site.run(&["store", "compact"]);
    assert!(compacted.status.success(), "{}", text(&compacted));
    let _broker = site.broker_alone().await;
    assert_eq!(waiting(&site, ids.len()).await, ids);
    let log = request(site.broker, "GET", "/api/v1/audit?kind=admin", Some(OPERATOR)).await.expect("an answer").json;
    let acts: Vec<_> =
        log["entries"].as_array().expect("entries").iter().filter(|entry| entry["origin"] == "command line").collect();
    assert_eq!((acts.len(), &acts[0]["what"], &acts[1]["who"]), (2, &json!("compacted the store"), &json!("operator")), "{log}");
}

#[tokio::test]
async fn a_deleted_store_is_reported_and_an_emptied_one_is_not_recreated() {
    let site = Site::new();
    let mut broker = site.broker_alone().await;
    let mut sender = site.agent("sender").await;
    store(&mut sender, "1", 300).await;
    let (file, elsewhere) = (site.data().join("bridge.db"), site.data().with_file_name("elsewhere"));
    fs::rename(&file, &elsewhere).expect("renamed");
    eventually("the broker is not ready", async || readiness(&site).await.0 == 503).await;
    let told = readiness(&site).await.1;
    assert!(told["error"]["message"].as_str().is_some_and(|message| message.contains("deleted or replaced")), "{told}");
    for id in ["2", "3"] {
        fail_to_store(&mut sender, id, 300).await;
    }
    let fault = site.stats().await["store"]["fault"].clone();
    assert!(fault.as_str().is_some_and(|fault| fault.contains("bridge.db")), "{fault}");
    broker.kill();

    let said = run_broker(&site);
    assert_eq!(said.status.code(), Some(1), "{}", text(&said));
    assert!(text(&said).contains("is missing or empty") && text(&said).contains("store restore"), "{}", text(&said));
    fs::write(&file, "").expect("written");
    let said = run_broker(&site);
    assert!(text(&said).contains("is missing or empty") && said.status.code() == Some(1), "{}", text(&said));
    fs::rename(&elsewhere, &file).expect("renamed");
    let _broker = site.broker_alone().await;
    assert_eq!(waiting(&site, 1).await, ["1"]);
}

#[tokio::test]
async fn damage_in_one_inbox_is_told_to_both_sides_and_the_rest_is_served() {
    let site = Site::new();
    let mut broker = site.broker_alone().await;
    let mut sender = site.agent("sender").await;
    for number in 0..20 {
        store(&mut sender, &number.to_string(), 10_000).await;
    }
    broker.terminate();
    assert_eq!(broker.exit_code().await, 0);
    // A page within one of the messages.
    let path = site.data().join("bridge.db");
    let mut file = fs::read(&path).expect("the store's file");
    let within: Vec<_> = file.chunks(8_192).map(|page| page.iter().filter(|byte| **byte == b'x').count() > 7_000).collect();
    let pages: Vec<usize> = (0..within.len()).filter(|page| within[*page]).collect();
    let page = pages[pages.len() / 2];
    file[page * 8_192..(page + 1) * 8_192].fill(0xa5);
    fs::write(&path, file).expect("written");

    let _broker = site.broker_alone().await;
    let mut worker = Peer::dial(site.broker, "/ws/agent?agent_id=worker&ack=explicit", AGENT_KEY).await.expect("upgraded");
    let (mut got, mut told) = (0, Value::Null);
    while got < 19 || told.is_null() {
        let frame = worker.next().await;
        match frame["type"].as_str() {
            Some("job:new") => got += 1,
            Some("system:lost") => told = frame["payload"].clone(),
            _ => {}
        }
    }
    assert_eq!((&told["channel"], &told["reason"], &told["exact"]), (&json!("agent:worker"), &json!("damage"), &json!(false)));

    let mut sender = site.agent("sender").await;
    sender.send(message("new", 300)).await;
    let refused = sender.expect("system:error").await["payload"].clone();
    assert_eq!((&refused["code"], &refused["temporary"]), (&json!("store_damaged"), &json!(false)), "{refused}");
    let elsewhere = json!({"type":"job:new","id":"e","target":"agent:other","delivery":"durable","payload":null});
    sender.send(elsewhere).await;
    assert_eq!(sender.expect("message:accepted").await["correlation_id"], "e");
    let (status, told) = readiness(&site).await;
    assert!(status == 503 && told.to_string().contains("agent:worker is damaged"), "{told}");
    let checked = site.run(&["store", "check"]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(text(&checked).contains("agent:worker is damaged: 1 of its records cannot be read"), "{}", text(&checked));
}

#[tokio::test]
async fn operations_succeed_though_the_audit_log_cannot_be_written() {
    let site = Site::new();
    let mut broker = site.broker_alone().await;
    broker.terminate();
    assert_eq!(broker.exit_code().await, 0);
    let database = rusqlite::Connection::open(site.data().join("bridge.db")).expect("the store's file");
    let refuse = "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END";
    database.execute_batch(refuse).expect("a trigger");
    drop(database);
    let compacted = site.run(&["store", "compact"]);
    assert!(compacted.status.success() && text(&compacted).contains("bytes before"), "{}", text(&compacted));
    assert!(text(&compacted).contains("not in the audit log"), "{}", text(&compacted));
}
