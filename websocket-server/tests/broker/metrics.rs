//! The metrics page.

use std::collections::BTreeSet;

use common::secret::Secret;
use serde_json::json;
use websocket_server::METRICS;

use crate::harness::{TestBroker, eventually};

async fn scrape(broker: &TestBroker) -> String {
    let (status, text) = broker.text("/metrics").await;
    assert_eq!(status, 200, "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    text
}

/// The value of a series.
fn value(scrape: &str, series: &str) -> Option<f64> {
    scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// The series of a scrape, without their values.
fn series(scrape: &str) -> BTreeSet<String> {
    scrape.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

#[actix_rt::test]
async fn metrics_say_what_happened() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let mut session = broker.session().await;
    session.send(json!({"type":"message:send","target":"agent:a","id":"1","payload":"x","delivery":"durable"})).await;
    agent.expect("message:send").await;
    session.expect("message:accepted").await;
    session.send(json!({"type":"task:new","target":"agent:none"})).await;
    session.expect_error("agent_not_found").await;
    let found = scrape(&broker).await;
    for (name, expected) in [
        ("bridge_ready", 1.0),
        ("bridge_agents", 1.0),
        ("bridge_connections{side=\"agents\",state=\"active\"}", 1.0),
        ("bridge_messages_received_total{route=\"session_to_agent\"}", 1.0),
        ("bridge_messages_delivered_total{route=\"session_to_agent\"}", 1.0),
        ("bridge_messages_by_family_total{family=\"message\"}", 1.0),
        ("bridge_errors_total{code=\"agent_not_found\"}", 1.0),
        ("bridge_store_ready", 1.0),
        ("bridge_store_appended_total", 1.0),
    ] {
        assert_eq!(value(&found, name), Some(expected), "{name} in\n{found}");
    }
    eventually("the wait for the routers is measured", || async {
        let found = scrape(&broker).await;
        value(&found, "bridge_router_wait_seconds_count") >= Some(2.0)
            && value(&found, "bridge_store_confirmation_seconds_count") == Some(1.0)
    })
    .await;
}

#[actix_rt::test]
async fn every_metric_of_the_reference_is_in_a_scrape() {
    let broker = TestBroker::start().await;
    let found = scrape(&broker).await;
    let described: Vec<_> = found.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')).collect();
    let names: BTreeSet<_> = described.iter().map(|(name, _)| *name).collect();
    let expected: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).filter(|name| !name.starts_with("bridge_tls")).collect();
    assert_eq!(names, expected);
}

#[actix_rt::test]
async fn peers_do_not_add_series() {
    let broker = TestBroker::start().await;
    let mut first = broker.session().await;
    first.send(json!({"type":"a:b","target":"agent:none"})).await;
    first.expect_error("agent_not_found").await;
    let before = series(&scrape(&broker).await);
    for number in 0..50 {
        let agent = broker.agent(&format!("agent-{number}")).await;
        let mut session = broker.session().await;
        session.send(json!({"type":format!("family{number}:verb"),"target":"agent:none"})).await;
        session.expect_error("agent_not_found").await;
        session.send(json!({"type":"topic:subscribe","payload":{"topic":format!("t{number}")}})).await;
        session.expect("topic:subscribed").await;
        agent.close().await;
    }
    let after = series(&scrape(&broker).await);
    let added: Vec<_> = after.difference(&before).filter(|series| !series.starts_with("bridge_connections_closed")).collect();
    assert!(added.is_empty(), "{added:?}");
}

#[actix_rt::test]
async fn metrics_are_for_those_who_may_see_statistics() {
    let broker = TestBroker::with(|settings| settings.broker.operator_token = Secret::new("an-operator-token")).await;
    assert_eq!(broker.get("/metrics").await.0, 401);
    assert_eq!(broker.get_with("/metrics", "Authorization: Bearer an-operator-token\r\n").await.0, 200);
    let local = TestBroker::start().await;
    assert_eq!(local.get("/metrics").await.0, 200);
    assert_eq!(local.get_with("/metrics", "X-Forwarded-For: 127.0.0.1\r\n").await.0, 401, "through a proxy");
}
