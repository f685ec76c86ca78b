//! What operators see.

use crate::{broker::Broker, harness::Edge};

#[actix_web::test]
async fn the_edge_names_itself() {
    let edge = Edge::start();
    for path in ["/api/", "/api"] {
        let answer = edge.get(path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["name"], "agent-bridge");
        assert!(answer.json()["version"].is_string());
    }
}

#[actix_web::test]
async fn it_is_ready_with_and_without_a_broker_and_says_which() {
    let broker = Broker::start().await;
    let edge = Edge::with(|settings| settings.web.broker_url = Some(broker.url()));
    assert_eq!(edge.get("/health/live").await.json()["status"], "live");
    let answer = edge.get("/health/ready").await;
    assert_eq!((answer.status, answer.json()["broker"].as_str()), (200, Some("reachable")));
    let alone = Edge::start().get("/health/ready").await;
    assert_eq!((alone.status, alone.json()["broker"].as_str()), (200, Some("unreachable")));
}

#[actix_web::test]
async fn statistics_count_browsers_and_links() {
    let mut broker = Broker::start().await;
    let edge = Edge::with(|settings| settings.web.broker_url = Some(broker.url()));
    let mut browser = edge.browser().await;
    let mut link = broker.link().await;
    link.say("hello").await;
    assert_eq!(browser.text().await, "hello");
    let stats = edge.get("/stats").await.json();
    assert_eq!(stats["browsers"]["sockets"], 1);
    assert_eq!(stats["upstream"]["states"]["linked"], 1);
    assert_eq!(stats["upstream"]["dials"], 1);
    assert!(stats["browsers"]["bytes_out"].as_u64() >= Some(7));
    assert!(stats["uptime_seconds"].is_u64() && stats["version"].is_string());
}

#[actix_web::test]
async fn metrics_count_the_same_and_have_each_metric_of_the_reference() {
    let mut broker = Broker::start().await;
    let edge = Edge::with(|settings| settings.web.broker_url = Some(broker.url()));
    let mut browser = edge.browser().await;
    let mut link = broker.link().await;
    link.say("hello").await;
    assert_eq!(browser.text().await, "hello");
    let answer = edge.get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let scrape = answer.text();
    for line in [
        "bridge_edge_ready 1.0",
        "bridge_edge_sockets 1.0",
        "bridge_edge_upstream_connections{state=\"linked\"} 1.0",
        "bridge_edge_upstream_events_total{event=\"dialled\"} 1",
    ] {
        assert!(scrape.lines().any(|found| found == line), "{line} in\n{scrape}");
    }
    let described: Vec<_> = scrape.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    let expected: Vec<_> = web_server::METRICS.iter().map(|metric| metric.name).filter(|name| !name.contains("_tls_")).collect();
    assert_eq!(described, expected);
}
