//! Processes that crash while they work.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use super::forms::Secrets;
use crate::harness::{AGENT_KEY, Peer, Process, Site, eventually, in_time, post};

/// Lets this process, and whatever it starts, write core files as long as the system allows: a
/// process that wants none must prevent them itself.
fn allow_core_files() {
    let limit = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: limit.maximum, ..limit }).expect("up to the hard limit is allowed");
}

/// Makes the daemon, at its most verbose log level, know secrets, and then ends it as `crash` says.
/// The last output must contain `last_words`.
async fn crashed(crash: impl AsyncFnOnce(&Site, &mut Process), last_words: &[&str]) {
    let mut secrets = Secrets::default();
    secrets.add("agent token", AGENT_KEY);
    let site = Site::new()
        .with("log.filter", "trace")
        .with("broker.bridge_secret", &secrets.fresh("bridge secret"))
        .with("web.session_secret", &secrets.fresh("session secret"))
        .with("broker.operator_token", &secrets.fresh("operator token"));
    allow_core_files();
    let mut daemon = site.daemon().await;
    let session = site.register().await;
    secrets.add("session token", &session.token);
    let payload = secrets.fresh("payload");
    let mut client = site.dial_session(&session, "").await.expect("upgraded");
    let mut agent = Peer::dial(site.broker, "/ws/agent?agent_id=a", AGENT_KEY).await.expect("upgraded");
    agent.expect("connection:ack").await;
    agent.settle().await;
    client.send(json!({"type":"message:send","target":"agent:a","payload":payload})).await;
    agent.expect("message:send").await;
    let body = json!({"message":secrets.fresh("message"),"signature":secrets.fresh("signature")});
    let _ = post(site.edge, "/auth/verify", Some(&session.token), &body).await;
    assert_eq!(daemon.core_limit(), Some(0), "a core file would hold everything");

    crash(&site, &mut daemon).await;
    eventually("it has ended", async || daemon.ended().is_some()).await;
    assert!(daemon.ended().is_some_and(|status| status.code().is_none_or(|code| code != 0)));
    let log = daemon.log();
    assert!(last_words.is_empty() || last_words.iter().any(|words| log.contains(words)), "{log}");
    secrets.check("what it printed", &log);
}

#[tokio::test]
async fn an_abort_prints_no_secret_and_leaves_no_core_file() {
    crashed(async |_, daemon| daemon.abort(), &[]).await;
}

#[tokio::test]
async fn running_out_of_memory_prints_no_secret() {
    let crash = async |site: &Site, daemon: &mut Process| {
        daemon.limit_memory();
        let mut held = Vec::new();
        let filling = async {
            while daemon.ended().is_none() {
                // Some succeed with the memory that is left.
                let agent = Peer::dial(site.broker, "/ws/agent", AGENT_KEY);
                let Ok(Ok(mut agent)) = tokio::time::timeout(std::time::Duration::from_secs(2), agent).await else { continue };
                let text = "x".repeat(900_000);
                let _ = agent.try_send(json!({"type":"message:send","target":"session:none","payload":text})).await;
                held.push(agent);
            }
        };
        in_time("it crashes", filling).await;
    };
    crashed(crash, &["memory allocation of", "panicked at"]).await;
}
