//! The history of channels through the edge, and its entries in the audit log: beside its broker
//! and apart.

use serde_json::json;

use crate::harness::{Site, eventually, request};

const OPERATOR: &str = "an-operator-token-of-the-suite-of-32-bytes";

async fn read_and_end(site: &Site) {
    let credentials = site.register().await;
    let mut agent = site.agent("writer").await;
    for at in 0..3 {
        agent.send(json!({"type":"x:y","id":at.to_string(),"target":"topic:room/1","delivery":"durable","payload":at})).await;
        agent.expect("message:accepted").await;
    }
    let token = Some(credentials.token.as_str());
    let history = async |channel: &str, query: &str, token| {
        request(site.edge, "GET", &format!("/api/v1/channels/{channel}/history{query}"), token).await.expect("an answer")
    };
    let page = history("topic:room/1", "?limit=2", token).await;
    assert_eq!((page.status, &page.json["messages"][1]["payload"]), (200, &json!(1)), "{}", page.json);
    let page = history("topic:room%2F1", &format!("?after={}", page.json["next"]), token).await;
    assert_eq!((page.status, &page.json["messages"][0]["payload"]), (200, &json!(2)), "{}", page.json);
    assert_eq!(history("topic:user/ann/room", "", token).await.status, 403, "somebody else's");
    assert_eq!(history("topic:room/1", "?limit=0x", token).await.status, 400);
    assert_eq!(history("topic:room/1", "", None).await.status, 401);
    assert_eq!(history("topic:room/1", "", Some("forged")).await.status, 401);

    assert_eq!(request(site.edge, "DELETE", "/api/client/session", token).await.expect("an answer").status, 204);
    eventually("the log has heard of it", async || {
        let log = request(site.broker, "GET", "/api/v1/audit?kind=authentication", Some(OPERATOR)).await.expect("an answer");
        let entries = log.json["entries"].as_array().expect("entries").clone();
        let has = |who: &str, what: &str| {
            entries.iter().any(|entry| entry["who"] == who && entry["what"].as_str().is_some_and(|said| said.starts_with(what)))
        };
        assert!(entries.iter().all(|entry| entry["origin"] == "127.0.0.1"), "{entries:?}");
        has(&format!("session:{}", credentials.id), "ended its session") && has("", "GET /api/v1/channels/topic:room/1/history: ")
    })
    .await;
}

#[tokio::test]
async fn sessions_read_the_past_through_an_edge_beside_its_broker() {
    let site = Site::new().with("broker.operator_token", OPERATOR);
    let _daemon = site.daemon().await;
    read_and_end(&site).await;
}

#[tokio::test]
async fn sessions_read_the_past_through_an_edge_of_its_own_and_the_log_waits_for_a_broker_that_is_away() {
    let site = Site::new().with("broker.operator_token", OPERATOR);
    let mut broker = site.broker_alone().await;
    let _edge = site.edge_alone().await;
    let credentials = site.register().await;
    broker.kill();
    let token = Some(credentials.token.as_str());
    let away = request(site.edge, "GET", "/api/v1/channels/topic:t/history", token).await.expect("an answer");
    assert_eq!((away.status, &away.json["error"]["code"]), (503, &json!("not_ready")));
    assert_eq!(request(site.edge, "DELETE", "/api/client/session", token).await.expect("an answer").status, 204);
    let _broker = site.broker_alone().await;
    eventually("the log has heard of it", async || {
        let log = request(site.broker, "GET", "/api/v1/audit?kind=authentication", Some(OPERATOR)).await.expect("an answer");
        log.json["entries"].to_string().contains(&format!("session:{}", credentials.id))
    })
    .await;
    read_and_end(&site).await;
}
