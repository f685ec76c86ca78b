//! Health and statistics.

use common::secret::Secret;
use serde_json::json;

use crate::harness::{TestBroker, eventually, until_refused};

#[actix_rt::test]
async fn health_and_unknown_paths_answer() {
    let broker = TestBroker::start().await;
    assert_eq!(broker.get("/health/live").await, (200, json!({"status":"live"})));
    assert_eq!(broker.get("/health/ready").await, (200, json!({"status":"ready"})));
    let (status, body) = broker.get("/nothing").await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("not_found")));
    let (status, body) = broker.get("/ws/agent").await;
    assert_eq!((status, &body["error"]["code"]), (401, &json!("unauthorized")));
}

#[actix_rt::test]
async fn statistics_count_what_happened() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let mut session = broker.session().await;
    session.send(json!({"type":"message:send","target":"agent:a","payload":"x"})).await;
    agent.expect("message:send").await;
    session.send(json!({"type":"task:new","target":"agent:none"})).await;
    session.expect_error("agent_not_found").await;
    let stats = broker.stats().await;
    assert_eq!(stats["status"], "ready");
    assert_eq!(stats["agents"]["list"][0]["agent_id"], "a");
    assert_eq!(stats["sessions"]["connected"], 1);
    assert_eq!(stats["connections"]["agents"]["by_state"]["active"], 1);
    assert_eq!(stats["messages"]["by_family"]["message"]["messages_out"], 1);
    assert_eq!(stats["messages"]["by_route"]["session_to_agent"]["messages_in"], 1);
    assert_eq!(stats["errors"], json!({"agent_not_found": 1}));
    assert_eq!(stats["queues"]["router_mailboxes"], json!([0]));
    agent.close().await;
    session.close().await;
    eventually("both are counted as closed", || async {
        let stats = broker.stats().await;
        stats["connections"]["closed_by_code"]["1005"] == 2 && stats["agents"]["connected"] == 0
    })
    .await;
}

#[actix_rt::test]
async fn statistics_are_for_operators() {
    let broker = TestBroker::with(|settings| settings.broker.operator_token = Secret::new("an-operator-token")).await;
    let ask = async |authorization: &str| broker.get_with("/stats", &format!("Authorization: {authorization}\r\n")).await.0;
    assert_eq!(broker.get("/stats").await.0, 401);
    assert_eq!(ask("Bearer another").await, 401);
    assert_eq!(ask("Bearer an-operator-token").await, 200);
    let local = TestBroker::start().await;
    assert_eq!(local.get("/stats").await.0, 200);
    assert_eq!(local.get_with("/stats", "X-Forwarded-For: 127.0.0.1\r\n").await.0, 401, "through a proxy");
    let rebound = local.get_with("/stats", "Origin: http://rebound.example\r\n").await;
    assert_eq!((rebound.0, &rebound.1["error"]["code"]), (401, &json!("unauthorized")), "a page in a browser on this machine");
    let behind = TestBroker::with(|settings| settings.proxies.trusted = vec!["10.0.0.0/8".parse().expect("a network")]).await;
    assert_eq!(behind.get("/stats").await.0, 401, "where proxies are trusted, only with the token");
}

#[actix_rt::test]
async fn operators_requests_have_a_rate_for_each_address() {
    let broker = TestBroker::with(|settings| {
        settings.limits.exempt_networks.clear();
        settings.proxies.trusted = vec!["127.0.0.1".parse().expect("a network")];
        settings.broker.operator_token = Secret::new("an-operator-token");
        settings.rates.operators = common::rate::Rate::new(1, 1);
    })
    .await;
    let paths = ["/stats", "/api/v1/keys", "/api/v1/keys/reload", "/api/v1/channels", "/api/v1/channels/topic:t/history"];
    for (number, path) in paths.into_iter().chain(["/api/v1/audit", "/api/v1/none"]).enumerate() {
        let (status, body) = until_refused(async |attempt| {
            // An address that has used up its rate.
            let from = format!("X-Forwarded-For: 192.0.{attempt}.{number}\r\nAuthorization: Bearer a guess\r\n");
            assert_ne!(broker.get_with("/stats", &from).await.0, 429);
            let answer = broker.get_with(path, &from).await;
            assert_eq!(broker.get_with("/health/live", &from).await.0, 200);
            answer
        })
        .await;
        assert_eq!((status, &body["error"]["code"]), (429, &json!("rate_limited")), "{path}");
        assert!(body["error"]["retry_after_ms"].as_u64() >= Some(1), "{body}");
    }
}

#[actix_rt::test]
async fn counters_and_seen_agents_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let on_disk = |settings: &mut common::config::Settings| {
        settings.store.backend = common::config::Backend::Embedded;
        settings.store.durability = common::config::Durability::Process;
        settings.data.dir = folder.path().to_owned();
    };
    let broker = TestBroker::with(on_disk).await;
    let mut session = broker.session().await;
    session.send(json!({"type":"x:y","id":"1","target":"agent:worker","delivery":"durable"})).await;
    session.expect_error("agent_not_found").await;
    broker.agent("worker").await.close().await;
    session.close().await;
    let before = broker.stats().await["lifetime"].clone();
    broker.handle.drain().await;

    let broker = TestBroker::with(on_disk).await;
    let after = broker.stats().await["lifetime"].clone();
    assert_eq!(
        (&after["connections"], &after["messages"]["messages_in"]),
        (&before["connections"], &before["messages"]["messages_in"])
    );
    let mut session = broker.session().await;
    session.send(json!({"type":"x:y","id":"2","target":"agent:worker","delivery":"durable"})).await;
    session.expect("message:accepted").await;
}

#[actix_rt::test]
async fn changes_of_state_are_published_to_agents_that_may_see_all() {
    let broker = TestBroker::start().await;
    let mut watcher = broker.agent("watcher").await;
    watcher.send(json!({"type":"topic:subscribe","payload":{"topic":"system.state"}})).await;
    watcher.expect("topic:subscribed").await;
    let mut session = broker.session_with("another").await;
    // Sessions that named another agent are told only to that agent; here everything is told.
    let told = watcher.expect("session:connected").await;
    assert_eq!((&told["target"], &told["payload"]["agent"]), (&json!("topic:system.state"), &json!("another")));
    session.send(json!({"type":"topic:subscribe","payload":{"topic":"system.state"}})).await;
    session.expect_error("not_allowed").await;
    watcher.send(json!({"type":"x:y","target":"topic:system.state"})).await;
    watcher.expect_error("not_allowed").await;
    session.close().await;
    assert_eq!(watcher.expect("session:disconnected").await["target"], "topic:system.state");
}
