//! Processes that are killed and started again while clients are connected.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{EchoAgent, Ended, Peer, Site, eventually, everyone, request, scaled};

/// How many sessions of a test have reached which step.
#[derive(Clone, Default)]
struct Progress {
    talking: Arc<AtomicUsize>,
    lost: Arc<AtomicUsize>,
}

#[tokio::test]
async fn sessions_stay_open_while_the_broker_is_killed_and_are_back_when_it_is() {
    let sessions = scaled(50, 500);
    let site = Site::new();
    let mut broker = site.broker_alone().await;
    let _edge = site.edge_alone().await;
    let _agent = EchoAgent::start(&site, "worker").await;
    let progress = Progress::default();

    let living = everyone((0..sessions).map(|_| live_through_a_loss(site.clone(), progress.clone())));
    let killing = async {
        eventually("every session is talking", async || progress.talking.load(Relaxed) == sessions).await;
        broker.kill();
        eventually("every session has heard of the loss", async || progress.lost.load(Relaxed) == sessions).await;
        broker = site.broker_alone().await;
    };
    tokio::join!(living, killing);
    eventually("all have left", async || site.stats().await["sessions"]["connected"] == 0).await;
}

/// Talks until the broker is lost, waits until it is back, and talks again; all on one socket.
async fn live_through_a_loss(site: Site, progress: Progress) {
    let credentials = site.register().await;
    let mut session = site.dial_session(&credentials, "").await.expect("upgraded");
    session.expect_ack(&credentials.id).await;

    let mut asked = 0;
    'talking: loop {
        asked += 1;
        let id = format!("before-{asked}");
        session.ask(&id, "agent:worker", json!(asked), 20_000).await;
        loop {
            let frame = session.next().await;
            if frame["type"] == "system:upstream" {
                assert_eq!((&frame["source"], &frame["payload"]["state"]), (&json!("edge"), &json!("lost")));
                assert!(frame["payload"]["retry_in_ms"].is_u64(), "{frame}");
                break 'talking;
            }
            assert_ne!(frame["type"], "system:error", "{frame}");
            if frame["type"] == "message:done" {
                assert_eq!((&frame["correlation_id"], &frame["payload"]), (&json!(id), &json!(asked)));
                progress.talking.fetch_add(usize::from(asked == 1), Relaxed);
                break;
            }
        }
    }
    progress.lost.fetch_add(1, Relaxed);

    // Between the notices of the loss, one for each failed dial, and the return, nothing else can
    // come.
    loop {
        let frame = session.next().await;
        assert_eq!(frame["type"], "system:upstream", "{frame}");
        if frame["payload"]["state"] == "restored" {
            break;
        }
    }
    session.expect_ack(&credentials.id).await;
    ask_until_answered(&mut session, "after").await;
    assert_eq!(session.close().await, Ended::Code(1000));
}

/// Asks the worker until it answers; temporary errors pass.
async fn ask_until_answered(session: &mut Peer, name: &str) {
    for attempt in 0.. {
        let id = format!("{name}-{attempt}");
        session.ask(&id, "agent:worker", json!(id), 2000).await;
        let outcome = outcome_of(session, &id).await;
        match outcome["type"].as_str() {
            Some("message:done") => return assert_eq!(outcome["payload"], id),
            _ => assert_eq!(outcome["payload"]["temporary"], true, "{outcome}"),
        }
    }
}

/// The answer to a question, or the error.
async fn outcome_of(session: &mut Peer, id: &str) -> Value {
    loop {
        let frame = session.next().await;
        if frame["correlation_id"] == id {
            return frame;
        }
    }
}

#[tokio::test]
async fn clients_are_the_same_sessions_after_the_whole_daemon_was_killed() {
    let site = Site::new();
    let mut daemon = site.daemon().await;
    let _agent = EchoAgent::start(&site, "worker").await;
    let mut clients = join_all((0..10).map(|_| async {
        let credentials = site.register().await;
        let mut session = site.dial_session(&credentials, "").await.expect("upgraded");
        session.expect_ack(&credentials.id).await;
        (credentials, session)
    }))
    .await;

    daemon.kill();
    for (_, session) in &mut clients {
        assert_eq!(session.ended().await, Ended::Broken);
    }
    let _daemon = site.daemon().await;
    for (credentials, session) in &mut clients {
        let confirmed = request(site.edge, "POST", "/api/client", Some(&credentials.token)).await.expect("the edge answers");
        assert_eq!((confirmed.status, &confirmed.json["client_id"]), (200, &json!(credentials.id)), "{}", confirmed.json);
        *session = site.dial_session(credentials, "").await.expect("the token is still good");
        session.expect_ack(&credentials.id).await;
        ask_until_answered(session, "after").await;
    }
}

#[tokio::test]
async fn an_agent_process_comes_back_to_a_broker_that_was_killed() {
    let site = Site::new();
    let mut broker = site.broker_alone().await;
    let _edge = site.edge_alone().await;
    let _demo = site.demo().await;
    site.wait_for_agent("demo").await;
    broker.kill();
    let _broker = site.broker_alone().await;
    site.wait_for_agent("demo").await;
    let mut session = site.session("").await;
    session.ask("q1", "agent:demo", json!("echo still here"), 20_000).await;
    assert_eq!(session.expect("message:done").await["payload"]["text"], "still here");
}

#[tokio::test]
async fn the_loss_of_an_agent_process_is_reported_to_sessions_and_waiting_requesters() {
    let site = Site::new();
    let _daemon = site.daemon().await;
    let mut demo = site.demo().await;
    site.wait_for_agent("demo").await;
    let (mut asker, mut watcher) = (site.session("").await, site.session("").await);
    // The demo agent does not know this type and never answers.
    asker.send(json!({"type":"task:wait","id":"q1","target":"agent:demo","timeout_ms":600_000})).await;
    asker.settle().await;
    demo.kill();
    assert_eq!(watcher.expect("agent:disconnected").await["payload"]["agent_id"], "demo");
    let gone = outcome_of(&mut asker, "q1").await;
    assert_eq!((&gone["type"], &gone["payload"]["code"]), (&json!("system:error"), &json!("peer_gone")), "{gone}");
}

#[tokio::test]
async fn after_quick_restarts_every_session_is_back_within_seconds_of_the_broker() {
    // The default waits: up to a minute.
    let site = Site::new().with("web.reconnect_min", "1s").with("web.reconnect_max", "1min");
    let mut broker = site.broker_alone().await;
    let _edge = site.edge_alone().await;
    let (losses, back) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    const SESSIONS: usize = 30;
    const RESTARTS: usize = 4;
    let mut tasks = Vec::new();
    for _ in 0..SESSIONS {
        let (mut session, losses, back) = (site.session("").await, Arc::clone(&losses), Arc::clone(&back));
        tasks.push(tokio::spawn(async move {
            // Until the test ends.
            while let Ok(frame) = session.receive().await {
                match frame["payload"]["state"].as_str() {
                    Some("lost") => losses.fetch_add(1, Relaxed),
                    Some("restored") => back.fetch_add(1, Relaxed),
                    _ => 0,
                };
            }
        }));
    }
    for restart in 1..=RESTARTS {
        broker.kill();
        let dials = restart * SESSIONS;
        eventually("dials have failed", async || losses.load(Relaxed) >= dials).await;
        broker = site.broker_alone().await;
    }
    let since = Instant::now();
    eventually("every session is back", async || site.stats().await["sessions"]["connected"] == SESSIONS).await;
    let took = since.elapsed();
    eprintln!("the last of {SESSIONS} sessions was back {took:?} after the broker");
    assert!(took < Duration::from_secs(15), "{took:?}: 5 s and what a busy machine takes");
    assert!(back.load(Relaxed) > 0);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn messages_accepted_for_a_new_agent_are_known_after_a_kill() {
    let site = Site::new();
    let mut daemon = site.daemon().await;
    let credentials = site.register().await;
    for round in 0..scaled(2, 20) {
        let agents = [format!("fresh-{round}"), format!("newer-{round}")];
        let mut session = site.dial_session(&credentials, "").await.expect("upgraded");
        session.expect_ack(&credentials.id).await;
        for agent in &agents {
            // It comes and leaves, and nobody has heard of it before.
            drop(site.agent(agent).await);
            session.send(job(agent, "first")).await;
            assert_eq!(session.expect("message:accepted").await["payload"]["duplicate"], false);
        }
        daemon.kill();
        daemon = site.daemon().await;
        let mut session = site.dial_session(&credentials, "").await.expect("upgraded");
        session.expect_ack(&credentials.id).await;
        for agent in &agents {
            for (name, is_repeated) in [("first", true), ("second", false)] {
                session.send(job(agent, name)).await;
                let answer = answer_to(&mut session, &format!("{agent}/{name}")).await;
                assert_eq!(
                    (&answer["type"], &answer["payload"]["duplicate"]),
                    (&json!("message:accepted"), &json!(is_repeated)),
                    "{answer}"
                );
            }
            let mut worker = site.dial_agent(agent).await.expect("upgraded");
            for name in ["first", "second"] {
                assert_eq!(worker.expect("job:new").await["id"], format!("{agent}/{name}"));
            }
        }
    }
}

fn job(agent: &str, name: &str) -> Value {
    json!({"type":"job:new","id":format!("{agent}/{name}"),"target":format!("agent:{agent}"),"delivery":"durable"})
}

/// The next frame that answers a message.
async fn answer_to(session: &mut Peer, id: &str) -> Value {
    loop {
        let frame = session.next().await;
        if frame["correlation_id"] == id {
            return frame;
        }
    }
}
