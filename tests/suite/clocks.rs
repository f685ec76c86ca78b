//! Edge and broker that do not fit: their clocks differ, or their secrets do.

use std::time::{Duration, SystemTime};

use crate::harness::{Peer, Site, eventually, request};
use common::config::Settings;

/// A broker, an edge whose clock says `now`, and a browser's session on it, which the broker
/// answers. Returns what health says about the broker's clock.
async fn connects_and_stays(now: SystemTime) -> i64 {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let mut settings = Settings::for_tests();
    settings.data.dir = folders[0].path().to_owned();
    let broker = websocket_server::start(&settings).await.expect("the broker starts");
    settings.data.dir = folders[1].path().to_owned();
    settings.web.broker_url = Some(format!("ws://{}", broker.addr()));
    let edge = web_server::start_by_clock(&settings, now).expect("the edge starts");

    let session = request(edge.addr(), "POST", "/api/client", None).await.expect("answers").json;
    let text = |field: &str| session[field].as_str().expect("a string").to_owned();
    let (id, token) = (text("client_id"), text("token"));
    let mut peer = Peer::dial(edge.addr(), &format!("/ws/{id}"), &token).await.expect("upgraded");
    peer.expect_ack(&id).await;
    // The broker answers.
    peer.settle().await;
    let mut ahead = 0;
    eventually("the edge is ready", async || {
        let ready = request(edge.addr(), "GET", "/health/ready", None).await.expect("answers");
        ahead = ready.json["broker_clock_ahead_seconds"].as_i64().unwrap_or(0);
        ready.status == 200 && ready.json["broker"] == "reachable"
    })
    .await;
    drop(peer);
    edge.drain().await;
    broker.drain().await;
    ahead
}

#[actix_rt::test]
async fn an_edge_whose_clock_is_wrong_by_a_minute_or_a_year_connects_and_stays() {
    for shift in [60, 365 * 24 * 3600] {
        let shifted = Duration::from_secs(shift);
        let shift = i64::try_from(shift).expect("small");
        assert!((connects_and_stays(SystemTime::now() - shifted).await - shift).abs() <= 2);
        assert!((connects_and_stays(SystemTime::now() + shifted).await + shift).abs() <= 2);
    }
    assert_eq!(connects_and_stays(SystemTime::now() - Duration::from_secs(2)).await, 0);
}

#[tokio::test]
async fn with_different_secrets_logs_and_health_report_it_and_sockets_stay_open() {
    let secret = |letter: &str| letter.repeat(16) + "0123456789abcdef";
    let site = Site::new();
    let wrong = site.clone().with("broker.bridge_secret", &secret("w"));
    let right = site.with("broker.bridge_secret", &secret("r"));
    let mut broker = wrong.broker_alone().await;
    let edge = right.spawned("edge", &["web"]);
    let health = async || request(right.edge, "GET", "/health/ready", None).await;
    eventually("health says so", async || {
        let Ok(ready) = health().await else { return false };
        let reason = ready.json["reason"].as_str().unwrap_or_default();
        ready.status == 503 && ready.json["broker"] == "refuses" && reason.contains("broker.bridge_secret")
    })
    .await;
    let session = right.register().await;
    let mut peer = right.dial_session(&session, "").await.expect("upgraded");
    for _ in 0..3 {
        assert_eq!(peer.expect("system:upstream").await["payload"]["state"], "lost");
    }
    eventually("both logs say so", async || {
        edge.log().contains("the broker refuses this edge") && broker.log().contains("the assertion of an edge was refused")
    })
    .await;

    broker.kill();
    let _broker = right.broker_alone().await;
    loop {
        if peer.expect("system:upstream").await["payload"]["state"] == "restored" {
            break;
        }
    }
    peer.expect_ack(&session.id).await;
    eventually("the edge is ready again", async || health().await.is_ok_and(|ready| ready.status == 200)).await;
}
