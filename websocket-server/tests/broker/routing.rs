//! Where messages go, and what their senders hear if they cannot.

use serde_json::json;

use crate::harness::TestBroker;

#[actix_rt::test]
async fn a_message_goes_to_the_agent_and_back_byte_for_byte() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("planner").await;
    let mut session = broker.session().await;
    let payload = r#"{ "n": 1.50, "s":"\u00e9\/", "big": 123456789012345678901234567890 }"#;
    let sent = format!(r#"{{"id":"q","type":"message:send","source":"agent:liar","x-trace":[1, 2],"payload":{payload}}}"#);
    session.send_text(&sent).await;
    let got = loop {
        let text = agent.next_text().await;
        if text.contains("message:send") {
            break text;
        }
    };
    assert!(got.contains(payload), "{got}");
    assert!(got.contains(r#""x-trace":[1, 2]"#) && !got.contains("liar"), "{got}");
    let frame: serde_json::Value = serde_json::from_str(&got).expect("json");
    assert_eq!(frame["source"], session.address());
    assert!(frame["timestamp"].is_string());

    agent.send(json!({"type":"message:done","target":frame["source"],"correlation_id":"q","payload":{"text":"ok"}})).await;
    let answer = session.expect("message:done").await;
    assert_eq!(answer["source"], "agent:planner");
    assert_eq!(answer["correlation_id"], "q");
    assert!(answer["id"].is_string());
}

#[actix_rt::test]
async fn untargeted_frames_go_to_the_sessions_agent_or_the_only_one() {
    let broker = TestBroker::start().await;
    let mut free = broker.session().await;
    let mut bound = broker.session_with("b").await;
    let ask = |id: &str| json!({"type":"message:send","id":id});
    free.send(ask("1")).await;
    assert_eq!(free.expect_error("no_agent").await["correlation_id"], "1");
    bound.send(ask("2")).await;
    assert_eq!(bound.expect_error("agent_not_found").await["correlation_id"], "2");
    let mut a = broker.agent("a").await;
    free.send(ask("3")).await;
    assert_eq!(a.expect("message:send").await["id"], "3");
    let mut b = broker.agent("b").await;
    free.send(ask("4")).await;
    assert_eq!(free.expect_error("agent_ambiguous").await["correlation_id"], "4");
    bound.send(ask("5")).await;
    assert_eq!(b.expect("message:send").await["id"], "5");
}

#[actix_rt::test]
async fn agents_reach_sessions_users_agents_and_everyone() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let mut other = broker.agent("b").await;
    let mut ann = broker.session_of_user("ann").await;
    let mut bob = broker.session_of_user("bob").await;
    let send = |kind: &str, target: &str| json!({"type":kind,"target":target});
    agent.send(send("to:session", &ann.address())).await;
    agent.send(send("to:user", "user:ann")).await;
    agent.send(send("to:agent", "agent:b")).await;
    agent.send(send("to:sessions", "broadcast:sessions")).await;
    agent.send(send("to:agents", "broadcast:agents")).await;
    agent.send(send("to:all", "broadcast:all")).await;
    for kind in ["to:session", "to:user", "to:sessions", "to:all"] {
        ann.expect(kind).await;
    }
    for kind in ["to:sessions", "to:all"] {
        assert_eq!(bob.expect(kind).await["source"], "agent:a");
    }
    for kind in ["to:agent", "to:agents", "to:all"] {
        other.expect(kind).await;
    }
    agent.expect_nothing().await;
    bob.expect_nothing().await;
}

#[actix_rt::test]
async fn sessions_reach_agents_only() {
    let broker = TestBroker::start().await;
    let _agent = broker.agent("a").await;
    let mut victim = broker.session_of_user("ann").await;
    let mut session = broker.session().await;
    for target in [victim.address().as_str(), "user:ann", "broadcast:all", "broadcast:sessions", "broadcast:agents", "topic:t"] {
        session.send(json!({"type":"message:send","id":target,"target":target})).await;
        let error = session.expect_error("not_allowed").await;
        assert_eq!(error["correlation_id"], target);
        assert_eq!(error["payload"]["target"], target);
    }
    victim.expect_nothing().await;
}

#[actix_rt::test]
async fn senders_are_told_of_messages_that_cannot_be_routed() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    for (frame, code) in [
        (json!({"type":"m:x","id":"1","target":"agent:none"}), "agent_not_found"),
        (json!({"type":"m:x","id":"1","target":"session:6f0c1f9e-0000-4000-8000-000000000000"}), "session_not_found"),
        (json!({"type":"m:x","id":"1","target":"user:none"}), "user_not_found"),
        (json!({"type":"m:x","id":"1"}), "target_required"),
        (json!({"type":"m:x","id":"1","target":"nowhere"}), "invalid_target"),
        (json!({"type":"system:x","id":"1"}), "reserved_type"),
        (json!({"type":"m:x","id":"1","target":"bridge"}), "reserved_type"),
        (json!({"type":"agent:status","id":"1","payload":{}}), "invalid_payload"),
        (json!({"type":"topic:subscribe","id":"1","payload":{"topic":"a b"}}), "invalid_topic"),
    ] {
        agent.send(frame).await;
        assert_eq!(agent.expect_error(code).await["correlation_id"], "1", "{code}");
    }
    agent.send_text("not json").await;
    assert_eq!(agent.expect_error("invalid_envelope").await["correlation_id"], json!(null));
}

#[actix_rt::test]
async fn notices_report_arrivals_departures_and_changes() {
    let broker = TestBroker::start().await;
    let mut session = broker.session().await;
    let mut agent = broker.agent("a").await;
    session.expect("agent:connected").await;
    agent.send(json!({"type":"agent:status","payload":{"status":"busy"}})).await;
    assert_eq!(session.expect("agent:status").await["payload"]["status"], "busy");
    let newcomer = broker.session_with("b").await;
    newcomer.close().await;
    let friend = broker.session_with("a").await;
    let address = friend.session_id;
    let seen = agent.expect("session:connected").await;
    assert_eq!(seen["payload"]["session_id"], json!(address));
    friend.close().await;
    assert_eq!(agent.expect("session:disconnected").await["payload"]["session_id"], json!(address));
    agent.send(json!({"type":"session:list","id":"l"})).await;
    let listed = agent.expect("session:listed").await;
    assert_eq!(listed["payload"]["total"], 1);
    assert_eq!(listed["payload"]["sessions"][0]["session_id"], json!(session.session_id));
    agent.close().await;
    assert_eq!(session.expect("agent:disconnected").await["payload"]["agent_id"], "a");
}

#[actix_rt::test]
async fn high_priority_overtakes_what_waits() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let session = broker.session().await;
    let target = session.address();
    let mut session = session;
    // The reader does not read: its socket fills, then its outbox.
    let big = "x".repeat(200_000);
    for at in 0..30 {
        agent.send(json!({"type":"data:n","target":target,"payload":[at, big]})).await;
    }
    agent.send(json!({"type":"urgent:stop","target":target,"priority":"control"})).await;
    agent.settle().await;
    let mut data_before = 0;
    loop {
        let frame = session.next().await;
        match frame["type"].as_str() {
            Some("data:n") => {
                assert_eq!(frame["payload"][0], data_before);
                data_before += 1;
            }
            Some("urgent:stop") => break,
            _ => {}
        }
    }
    assert!(data_before < 30, "it waited behind {data_before} frames");
}
