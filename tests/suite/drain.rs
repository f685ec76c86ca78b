//! SIGTERM, once and twice.

use std::net::SocketAddr;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Ended, Peer, Site, eventually, in_time, request};

#[tokio::test]
async fn sigterm_tells_everyone_closes_with_1012_and_exits_with_success() {
    let site = Site::new().with("drain.timeout", "10s");
    let mut daemon = site.daemon().await;
    let mut sessions = join_all((0..20).map(|_| site.session(""))).await;
    let names: Vec<_> = (0..5).map(|number| format!("worker-{number}")).collect();
    let mut agents = join_all(names.iter().map(|name| site.agent(name))).await;
    // They never read, so closing them takes as long as allowed: meanwhile the listeners can be
    // asked.
    let (_mute_session, _mute_agent) = (site.session("").await, site.agent("mute").await);

    daemon.terminate();
    tokio::join!(
        join_all(sessions.iter_mut().map(hears_of_the_drain)),
        join_all(agents.iter_mut().map(hears_of_the_drain)),
        stops_being_ready(site.edge),
        stops_being_ready(site.broker),
    );
    let code = tokio::time::timeout(std::time::Duration::from_secs(20), daemon.exit_code()).await.expect("within its limit");
    assert_eq!(code, 0);
}

async fn hears_of_the_drain(peer: &mut Peer) {
    let draining = peer.expect("system:draining").await;
    assert!(draining["payload"]["close_within_ms"].is_u64(), "{draining}");
    assert_eq!(peer.ended().await, Ended::Code(1012));
}

async fn stops_being_ready(addr: SocketAddr) {
    eventually("it is not ready any more", async || {
        let answer = request(addr, "GET", "/health/ready", None).await.expect("it answers while it drains");
        answer.status == 503
    })
    .await;
}

#[tokio::test]
async fn a_second_sigterm_ends_the_process_at_once() {
    let site = Site::new().with("drain.timeout", "1h");
    let mut daemon = site.daemon().await;
    let mut session = site.session("").await;
    let _mute = site.session("").await;
    daemon.terminate();
    session.expect("system:draining").await;
    daemon.terminate();
    assert_eq!(in_time("the process ends", daemon.exit_code()).await, 143);
}

#[tokio::test]
async fn frames_sent_before_the_close_of_a_drain_still_arrive() {
    let site = Site::new();
    let mut daemon = site.daemon().await;
    let mut agent = site.agent("worker").await;
    let mut session = site.session("").await;
    for number in 0..100 {
        session.ask(&number.to_string(), "agent:worker", json!(number), 20_000).await;
    }
    session.settle().await;
    daemon.terminate();
    for number in 0..100 {
        assert_eq!(agent.expect("message:send").await["payload"], number);
    }
    assert_eq!(agent.ended().await, Ended::Code(1012));
    assert_eq!(daemon.exit_code().await, 0);
}
