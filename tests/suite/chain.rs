//! The whole chain: client, edge, broker, demo agent, and back.

use serde_json::json;

use crate::harness::Site;

#[tokio::test]
async fn a_question_at_the_edge_is_answered_by_the_demo_agent_token_by_token() {
    let site = Site::new().with("demo.token_pace", "1ms");
    let _daemon = site.daemon_with_demo().await;
    let mut client = site.session("").await;

    client.ask("q1", "agent:demo", json!({"text": "count 20"}), 20_000).await;
    let mut said = String::new();
    for index in 0..20 {
        let delta = client.expect("message:delta").await;
        assert_eq!((&delta["correlation_id"], &delta["source"]), (&json!("q1"), &json!("agent:demo")));
        assert_eq!(delta["payload"]["index"], index);
        said.push_str(delta["payload"]["text"].as_str().expect("text"));
    }
    let done = client.expect("message:done").await;
    assert_eq!((&done["correlation_id"], &done["payload"]["text"]), (&json!("q1"), &json!(said)));
    assert!(said.starts_with("1 2 3 ") && said.ends_with(" 19 20"), "{said}");
}

#[tokio::test]
async fn a_question_without_a_target_goes_to_the_agent_named_at_connect() {
    let site = Site::new();
    let _daemon = site.daemon_with_demo().await;
    let _other = site.agent("other").await;
    let mut client = site.session("?agent=demo").await;
    client.send(json!({"type":"message:send","id":"q1","payload":{"text":"echo hello"}})).await;
    let done = client.expect("message:done").await;
    assert_eq!((&done["source"], &done["payload"]["text"]), (&json!("agent:demo"), &json!("hello")));
}
