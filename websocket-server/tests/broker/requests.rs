//! Request and reply, in both directions, with everything that can go wrong.

use serde_json::json;

use crate::harness::TestBroker;

#[actix_rt::test]
async fn an_answer_in_time_ends_the_wait_in_both_directions() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let mut session = broker.session().await;
    session.send(json!({"type":"ask:x","id":"1","target":"agent:a","timeout_ms":300})).await;
    let request = agent.expect("ask:x").await;
    agent.send(json!({"type":"tell:x","target":request["source"],"correlation_id":"1"})).await;
    session.expect("tell:x").await;
    agent.send(json!({"type":"ask:y","id":"2","target":session.address(),"timeout_ms":300})).await;
    session.expect("ask:y").await;
    session.send(json!({"type":"tell:y","target":"agent:a","correlation_id":"2"})).await;
    agent.expect("tell:y").await;
    // Longer than both time limits: no error may come.
    session.send(json!({"type":"ask:z","id":"3","target":"agent:a","timeout_ms":400})).await;
    assert_eq!(session.expect("system:error").await["correlation_id"], "3");
    agent.expect("ask:z").await;
    agent.expect_nothing().await;
}

#[actix_rt::test]
async fn a_missing_answer_is_reported_and_a_late_one_still_delivered() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let mut session = broker.session().await;
    session.send(json!({"type":"ask:x","id":"1","target":"agent:a","timeout_ms":50})).await;
    let error = session.expect_error("reply_timeout").await;
    assert_eq!(error["correlation_id"], "1");
    assert_eq!(error["payload"]["target"], "agent:a");
    agent.send(json!({"type":"tell:x","target":session.address(),"correlation_id":"1"})).await;
    session.expect("tell:x").await;
}

#[actix_rt::test]
async fn an_answer_from_somebody_else_does_not_count() {
    let broker = TestBroker::start().await;
    let _agent = broker.agent("a").await;
    let mut meddler = broker.agent("b").await;
    let mut session = broker.session().await;
    session.send(json!({"type":"ask:x","id":"1","target":"agent:a","timeout_ms":200})).await;
    meddler.send(json!({"type":"tell:x","target":session.address(),"correlation_id":"1"})).await;
    session.expect("tell:x").await;
    session.expect_error("reply_timeout").await;
}

#[actix_rt::test]
async fn the_requester_is_told_at_once_when_the_peer_leaves() {
    let broker = TestBroker::start().await;
    let agent = broker.agent("a").await;
    let mut session = broker.session().await;
    session.send(json!({"type":"ask:x","id":"1","target":"agent:a","timeout_ms":600000})).await;
    session.settle().await;
    agent.close().await;
    assert_eq!(session.expect_error("peer_gone").await["correlation_id"], "1");
}

#[actix_rt::test]
async fn a_takeover_does_not_end_the_wait() {
    let broker = TestBroker::start().await;
    let _older = broker.agent("a").await;
    let mut session = broker.session().await;
    session.send(json!({"type":"ask:x","id":"1","target":"agent:a","timeout_ms":600000})).await;
    session.settle().await;
    let mut newer = broker.agent("a").await;
    newer.send(json!({"type":"tell:x","target":session.address(),"correlation_id":"1"})).await;
    session.expect("tell:x").await;
    newer.close().await;
    session.expect_nothing().await;
}

#[actix_rt::test]
async fn requests_have_a_bound_distinct_ids_and_one_receiver() {
    let broker = TestBroker::with(|settings| settings.limits.max_pending_requests = 1).await;
    let _agent = broker.agent("a").await;
    let mut session = broker.session().await;
    let ask = |id: &str, target: &str| json!({"type":"ask:x","id":id,"target":target,"timeout_ms":600000});
    session.send(ask("1", "agent:a")).await;
    session.send(ask("1", "agent:a")).await;
    session.expect_error("duplicate_request").await;
    session.send(ask("2", "agent:a")).await;
    session.expect_error("too_many_requests").await;
    session.send(ask("3", "topic:t")).await;
    session.expect_error("request_target_invalid").await;
}
