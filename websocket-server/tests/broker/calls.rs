//! Messages and requests over HTTP: `POST /api/v1/messages`, `POST /api/v1/request`, and topics as
//! events.

use common::{
    assertion::{self, ClientIdentity},
    audit::Event,
    id::SessionId,
    rate::Rate,
    secret::Secret,
};
use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{LIMIT, TestBroker, eventually, until_refused};

const KEY: &str = "test-agent-key";
const TOKEN: &str = "an-operator-token";
const MESSAGES: &str = "/api/v1/messages";
const REQUEST: &str = "/api/v1/request";

/// Posts JSON with a bearer token and further header lines.
async fn post(broker: &TestBroker, path: &str, token: &str, headers: &str, body: impl std::fmt::Display) -> (u16, Value) {
    let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n{headers}");
    timeout(LIMIT, broker.ask_with("POST", path, &headers, &body.to_string())).await.expect("an answer in time")
}

fn code((status, body): &(u16, Value)) -> String {
    format!("{status} {}", body["error"]["code"].as_str().unwrap_or_default())
}

/// A session, and the token with which its edge vouches for it.
fn vouched(broker: &TestBroker) -> (ClientIdentity, String) {
    let identity = ClientIdentity::anonymous(SessionId::fresh());
    let token = assertion::mint(&identity, &broker.settings.broker.bridge_secret).expect("signs");
    (identity, token)
}

/// Waits until this many callers wait for answers.
async fn callers(broker: &TestBroker, count: usize) {
    let router = &broker.handle.broker().router;
    eventually("so many callers wait", async || router.read().callers().count() == count).await;
}

#[actix_rt::test]
async fn a_message_of_a_session_is_confirmed_once_it_is_stored_and_once_under_its_id() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let (identity, token) = vouched(&broker);
    let message = json!({"type":"job:new","id":"1","target":"agent:a","delivery":"durable","payload":{"n":1}});
    let (status, first) = post(&broker, MESSAGES, &token, "", &message).await;
    assert_eq!(status, 200, "{first}");
    assert_eq!((&first["id"], &first["delivery"], &first["duplicate"]), (&json!("1"), &json!("durable"), &json!(false)));
    assert_eq!(first["channel"], "agent:a");
    let (status, again) = post(&broker, MESSAGES, &token, "", &message).await;
    assert_eq!((status, &again["duplicate"], &again["seq"]), (200, &json!(true), &first["seq"]));
    let got = agent.expect("job:new").await;
    assert_eq!(
        (&got["payload"], &got["source"], &got["seq"]),
        (&json!({"n":1}), &json!(format!("session:{}", identity.session_id)), &first["seq"])
    );
    agent.expect_nothing().await;

    let fleeting = json!({"type":"job:new","target":"agent:a","delivery":"ephemeral"});
    let (status, sent) = post(&broker, MESSAGES, &token, "", &fleeting).await;
    assert_eq!((status, &sent["delivery"], sent["id"].is_string()), (200, &json!("ephemeral"), true));
    assert_eq!(agent.expect("job:new").await["id"], sent["id"]);
}

#[actix_rt::test]
async fn a_caller_is_no_connection_and_leaves_nothing_behind() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let (_, token) = vouched(&broker);
    let asking = post(&broker, REQUEST, &token, "", json!({"target":"agent:a","payload":"?"}));
    let answering = async {
        let question = agent.expect("message:send").await;
        agent.expect_nothing().await;
        agent.send(json!({"type":"session:list","id":"l"})).await;
        assert_eq!(agent.expect("session:listed").await["payload"]["total"], 0);
        agent.send(json!({"type":"message:done","id":"a","target":question["source"],"correlation_id":question["id"],"delivery":"durable"})).await;
        agent.expect("message:accepted").await;
        question
    };
    let ((status, _), question) = tokio::join!(asking, answering);
    assert_eq!(status, 200);
    let inbox = question["source"].as_str().expect("an address");
    eventually("the answer does not wait in the inbox", async || broker.channel(inbox).await.unacked == 0).await;
    eventually("no place is taken", async || broker.handle.broker().connections() == 1).await;
    callers(&broker, 0).await;
    agent.expect_nothing().await;
}

#[actix_rt::test]
async fn a_request_gets_the_message_that_ends_the_answer() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let (identity, token) = vouched(&broker);
    let asking =
        post(&broker, REQUEST, &token, "", json!({"type":"q:ask","id":"q","target":"agent:a","payload":{"x":1},"wait_ms":9000}));
    let answering = async {
        let question = agent.expect("q:ask").await;
        assert_eq!((&question["id"], &question["timeout_ms"], &question["wait_ms"]), (&json!("q"), &json!(9000), &Value::Null));
        for (kind, delivery) in [("message:delta", "ephemeral"), ("message:done", "durable")] {
            let target = &question["source"];
            agent.send(json!({"type":kind,"target":target,"correlation_id":"q","delivery":delivery,"payload":kind})).await;
        }
        agent.expect("message:accepted").await;
    };
    let ((status, answer), ()) = tokio::join!(asking, answering);
    assert_eq!((status, &answer["type"], &answer["payload"]), (200, &json!("message:done"), &json!("message:done")));
    assert_eq!((&answer["source"], &answer["target"]), (&json!("agent:a"), &json!(format!("session:{}", identity.session_id))));
}

#[actix_rt::test]
async fn requests_that_get_no_answer_end_with_a_code() {
    let broker = TestBroker::start().await;
    let (_, token) = vouched(&broker);
    let ask = async |body: Value| code(&post(&broker, REQUEST, &token, "", &body).await);
    assert_eq!(ask(json!({"payload":1})).await, "404 no_agent");
    let agent = broker.agent("a").await;
    assert_eq!(ask(json!({"target":"agent:b"})).await, "404 agent_not_found");
    assert_eq!(ask(json!({"target":"agent:a","wait_ms":30})).await, "504 reply_timeout");
    assert_eq!(ask(json!({"target":"topic:t"})).await, "400 request_target_invalid");
    let (asked, ()) = tokio::join!(ask(json!({"target":"agent:a"})), async {
        callers(&broker, 1).await;
        agent.close().await;
    });
    assert_eq!(asked, "502 peer_gone");
    callers(&broker, 0).await;
}

#[actix_rt::test]
async fn the_same_key_and_request_get_the_same_answer_and_another_request_none() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let (_, token) = vouched(&broker);
    let header = "Idempotency-Key: order-7\r\n";
    let ask = |payload: u32, wait_ms: u32| {
        let (broker, token) = (&broker, &token);
        async move { post(broker, REQUEST, token, header, json!({"target":"agent:a","payload":payload,"wait_ms":wait_ms})).await }
    };
    assert_eq!(code(&ask(1, 50).await), "504 reply_timeout");
    let question = agent.expect("message:send").await;
    assert_eq!(question["id"], "order-7", "so that the agent recognises it too");
    // The first call is over, and its request is not: who calls again waits for its answer.
    let ((status, late), ()) = tokio::join!(ask(1, 9000), async {
        let target = &question["source"];
        agent
            .send(json!({"type":"message:done","target":target,"correlation_id":"order-7","delivery":"durable","payload":"done"}))
            .await;
        agent.expect("message:accepted").await;
    });
    assert_eq!((status, &late["payload"]), (200, &json!("done")));
    assert_eq!(ask(1, 1).await, (200, late), "at once");
    assert_eq!(code(&ask(2, 9000).await), "422 idempotency_key_reused");
    let (_, other) = vouched(&broker);
    let of_another = post(&broker, REQUEST, &other, header, json!({"target":"agent:a","payload":2,"wait_ms":30}));
    assert_eq!(code(&of_another.await), "504 reply_timeout", "keys are those of their caller");
    assert_eq!(agent.expect("message:send").await["payload"], 2);
    agent.expect_nothing().await;
    for bad in ["Idempotency-Key: \r\n", "Idempotency-Key: a b\r\n"] {
        assert_eq!(code(&post(&broker, REQUEST, &token, bad, json!({"target":"agent:a"})).await), "400 bad_request");
    }
}

#[actix_rt::test]
async fn a_caller_that_leaves_ends_its_request_unless_it_has_a_key() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let (_, token) = vouched(&broker);
    for (header, left) in [("", 0), ("Idempotency-Key: k\r\n", 1)] {
        let body = json!({"target":"agent:a"}).to_string();
        let mut socket = TcpStream::connect(broker.handle.addr()).await.expect("connects");
        let head = format!(
            "POST {REQUEST} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{header}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(head.as_bytes()).await.expect("writes");
        agent.expect("message:send").await;
        drop(socket);
        eventually("its place is free", async || broker.handle.broker().connections() == 1).await;
        callers(&broker, left).await;
    }
}

#[actix_rt::test]
async fn an_agents_key_sends_as_the_agents_that_it_is_for_and_takes_nothing_over() {
    let broker = TestBroker::start().await;
    let mut worker = broker.agent("worker").await;
    let mut session = broker.session().await;
    let path = format!("{MESSAGES}?agent_id=worker");
    let to_session = json!({"type":"job:done","target":session.address(),"payload":1});
    assert_eq!(post(&broker, &path, KEY, "", &to_session).await.0, 200);
    let got = session.expect("job:done").await;
    assert_eq!((&got["source"], &got["payload"]), (&json!("agent:worker"), &json!(1)));
    worker.expect_nothing().await;
    assert_eq!(post(&broker, MESSAGES, KEY, "", &to_session).await.0, 200);
    let nameless = session.expect("job:done").await["source"].as_str().expect("an address").to_owned();
    assert!(nameless.starts_with("agent:") && nameless != "agent:worker", "{nameless}");

    let asking = post(&broker, REQUEST, KEY, "", json!({"target":"agent:worker","payload":"?"}));
    let answering = async {
        let question = worker.expect("message:send").await;
        worker.send(json!({"type":"message:done","target":question["source"],"correlation_id":question["id"]})).await;
    };
    let ((status, answer), ()) = tokio::join!(asking, answering);
    assert_eq!((status, &answer["source"]), (200, &json!("agent:worker")));

    let refused = [
        ("?agent_id=a%20b", KEY, "400 invalid_agent_id"),
        ("?agent_id=@operator", KEY, "403 not_allowed"),
        ("", "wrong", "401 unauthorized"),
        ("?as=x", KEY, "400 bad_request"),
    ];
    for (query, token, expected) in refused {
        assert_eq!(code(&post(&broker, &format!("{MESSAGES}{query}"), token, "", &to_session).await), expected, "{query}");
    }
    assert_eq!(broker.dial("/ws/agent?agent_id=@operator", Some(KEY)).await.err(), Some(403));
    assert_eq!(broker.ask("POST", MESSAGES, "").await.0, 401);
    assert_eq!(broker.get(MESSAGES).await.0, 405);
}

#[actix_rt::test]
async fn an_operator_sends_under_its_own_name_and_is_noted() {
    let broker = TestBroker::with(|settings| settings.broker.operator_token = Secret::new(TOKEN)).await;
    let mut agent = broker.agent("a").await;
    let asking = post(&broker, REQUEST, TOKEN, "", json!({"type":"shift:end","target":"agent:a"}));
    let answering = async {
        let question = agent.expect("shift:end").await;
        assert_eq!(question["source"], "agent:@operator");
        agent.send(json!({"type":"shift:ended","target":question["source"],"correlation_id":question["id"]})).await;
    };
    let ((status, answer), ()) = tokio::join!(asking, answering);
    assert_eq!((status, &answer["type"]), (200, &json!("shift:ended")));
    let noted = broker.noted(Event::Admin).await;
    assert!(noted.iter().any(|entry| entry.who == "operator" && entry.what == "sent shift:end to agent:a"), "{noted:?}");
}

#[actix_rt::test]
async fn what_only_a_connection_can_do_is_refused_and_so_is_what_is_no_envelope() {
    let broker = TestBroker::start().await;
    let _agent = broker.agent("a").await;
    let (_, token) = vouched(&broker);
    let long = "x".repeat(1024 * 1024);
    for (body, expected) in [
        (json!({"type":"topic:subscribe","payload":{"topic":"t"}}), "400 reserved_type"),
        (json!({"type":"message:ack","payload":{"seqs":[1]}}), "400 reserved_type"),
        (json!({"type":"connection:ping"}), "400 reserved_type"),
        (json!({"type":"connection:identify","payload":{"assertion":"x"}}), "400 reserved_type"),
        (json!({"type":"system:error","target":"agent:a"}), "400 reserved_type"),
        (json!({"type":"a:b","target":"bridge"}), "400 reserved_type"),
        (json!({"type":"a:b","target":"nowhere"}), "400 invalid_target"),
        (json!({"type":"a:b","target":"broadcast:all"}), "403 not_allowed"),
        (json!({"type":"a:b","target":"topic:user/ann/x"}), "403 not_allowed"),
        (json!({"type":"a:b","target":"agent:a","timeout_ms":5}), "400 invalid_envelope"),
        (json!({"type":"a:b","target":"agent:a","receipt":true,"delivery":"ephemeral"}), "400 invalid_envelope"),
        (json!({"type":"none"}), "400 invalid_envelope"),
        (json!({"target":"agent:a"}), "400 invalid_envelope"),
        (json!([]), "400 invalid_envelope"),
        (json!({"type":"a:b","target":"agent:a","payload":long}), "413 frame_too_big"),
    ] {
        let answer = post(&broker, MESSAGES, &token, "", &body).await;
        let shown = body.to_string();
        assert_eq!(code(&answer), expected, "{}", &shown[..shown.len().min(200)]);
    }
}

#[actix_rt::test]
async fn a_session_publishes_to_topics_that_it_may_subscribe_to() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    agent.send(json!({"type":"topic:subscribe","payload":{"topic":"news"}})).await;
    agent.expect("topic:subscribed").await;
    let (_, token) = vouched(&broker);
    let news = json!({"type":"news:new","target":"topic:news","delivery":"durable","payload":1});
    assert_eq!(post(&broker, MESSAGES, &token, "", &news).await.0, 200);
    assert_eq!(agent.expect("news:new").await["payload"], 1);
    // What it may subscribe to it may read, without a subscription.
    let history = broker.get_with("/api/v1/channels/topic:news/history", &format!("Authorization: Bearer {token}\r\n")).await;
    assert_eq!((history.0, &history.1["messages"][0]["payload"]), (200, &json!(1)));
}

#[actix_rt::test]
async fn calls_have_a_rate_and_count_as_connections_and_frames() {
    let broker = TestBroker::with(|settings| {
        settings.limits.exempt_networks.clear();
        settings.rates.calls = Rate::new(1, 3);
        settings.limits.max_session_connections = 2;
        settings.rates.session_messages = Rate::new(1, 2);
    })
    .await;
    let _agent = broker.agent("a").await;
    let message = json!({"type":"a:b","target":"agent:a","delivery":"ephemeral"});
    let by_key = until_refused(async |_| post(&broker, MESSAGES, KEY, "", &message).await).await;
    assert_eq!(code(&by_key), "429 rate_limited");
    assert!(by_key.1["error"]["retry_after_ms"].as_u64().is_some_and(|wait| wait > 0), "{}", by_key.1);
    // The edge has paced its sessions; their frames are counted here.
    let (_, token) = vouched(&broker);
    let by_session = until_refused(async |_| post(&broker, MESSAGES, &token, "", &message).await).await;
    assert_eq!(code(&by_session), "429 rate_limited");

    let broker = TestBroker::with(|settings| settings.limits.max_session_connections = 2).await;
    let _agent = broker.agent("a").await;
    let (_, token) = vouched(&broker);
    let wait = || post(&broker, REQUEST, &token, "", json!({"target":"agent:a","wait_ms":9000})).boxed_local();
    let waiting = futures_util::future::select(wait(), wait());
    let checks = async {
        callers(&broker, 2).await;
        assert_eq!(code(&post(&broker, MESSAGES, &token, "", &message).await), "429 too_many_connections");
    };
    tokio::select! {
        _ = waiting => panic!("answered"),
        () = checks => {}
    }
}

#[actix_rt::test]
async fn a_draining_broker_ends_the_calls_that_wait() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let (_, token) = vouched(&broker);
    let (asked, ()) = tokio::join!(post(&broker, REQUEST, &token, "", json!({"target":"agent:a"})), async {
        agent.expect("message:send").await;
        broker.handle.refuse_new();
    });
    assert_eq!(code(&asked), "503 service_restart");
    assert_eq!(code(&post(&broker, MESSAGES, &token, "", json!({"type":"a:b","target":"agent:a"})).await), "503 not_ready");
}

/// An open stream of events.
struct Events {
    socket: TcpStream,
    text: String,
}

impl Events {
    async fn open(broker: &TestBroker, path: &str, token: &str, headers: &str) -> Self {
        let mut socket = TcpStream::connect(broker.handle.addr()).await.expect("connects");
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{headers}\r\n");
        socket.write_all(head.as_bytes()).await.expect("writes");
        Self { socket, text: String::new() }
    }

    /// Reads until the stream has this text; returns all of it.
    async fn until(&mut self, wanted: &str) -> String {
        let mut bytes = [0; 4096];
        while !self.text.contains(wanted) {
            let read = timeout(LIMIT, self.socket.read(&mut bytes)).await.expect("in time").expect("reads");
            assert!(read > 0, "the stream ended: {}", self.text);
            self.text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        self.text.clone()
    }
}

#[actix_rt::test]
async fn agents_and_operators_read_a_topic_as_events_from_a_position() {
    let broker = TestBroker::with(|settings| settings.broker.operator_token = Secret::new(TOKEN)).await;
    let mut agent = broker.agent("a").await;
    let publish = async |agent: &mut crate::harness::Peer, n: u32| {
        agent.send(json!({"type":"news:new","id":n.to_string(),"target":"topic:news","delivery":"durable","payload":format!("news {n}")})).await;
        agent.expect("message:accepted").await["payload"].clone()
    };
    let first = publish(&mut agent, 1).await;
    let path = "/api/v1/channels/topic:news/events";
    let mut events = Events::open(&broker, &format!("{path}?from=0&agent_id=reader"), KEY, "").await;
    let text = events.until("news 1").await;
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("event: topic:subscribed"), "{text}");
    let position = format!("{}:{}", first["epoch"].as_str().expect("an epoch"), first["seq"]);
    assert!(text.contains(&format!("id: {position}\n")), "{text}");
    publish(&mut agent, 2).await;
    events.until("news 2").await;
    agent.send(json!({"type":"message:delta","target":"topic:news","payload":"live"})).await;
    events.until("live").await;
    // It goes on after the last event that it names, whatever the query says.
    let mut operator = Events::open(&broker, &format!("{path}?from=0"), TOKEN, &format!("Last-Event-ID: {position}\r\n")).await;
    assert!(!operator.until("news 2").await.contains("news 1"));
    // Many messages: the reader is asked what has come, and answers.
    for n in 3..300 {
        publish(&mut agent, n).await;
    }
    events.until("news 299").await;
    assert_eq!(broker.stats().await["agents"]["connected"], 1, "nobody has come");
    drop((events, operator));
    let router = &broker.handle.broker().router;
    eventually("nobody subscribes any more", async || router.read().topic_count() == 0).await;
    eventually("no place is taken", async || broker.handle.broker().connections() == 1).await;
}

#[actix_rt::test]
async fn a_stream_is_refused_before_it_begins_and_says_why_it_ends() {
    let broker = TestBroker::start().await;
    let get = async |path: &str, token: &str| code(&broker.get_with(path, &format!("Authorization: Bearer {token}\r\n")).await);
    for (path, expected) in [
        ("session:x/events", "400 invalid_target"),
        ("topic:t/events?from=here", "400 bad_request"),
        ("topic:t/events?from=1&last=2", "400 bad_request"),
        ("topic:t/events?since=today", "400 bad_request"),
        ("topic:t/events?form=1", "400 bad_request"),
    ] {
        assert_eq!(get(&format!("/api/v1/channels/{path}"), KEY).await, expected, "{path}");
    }
    let (_, token) = vouched(&broker);
    assert_eq!(get("/api/v1/channels/topic:user/ann/x/events", &token).await, "403 not_allowed");
    assert_eq!(get("/api/v1/channels/topic:t/events", "wrong").await, "401 unauthorized");
    let mut events = Events::open(&broker, "/api/v1/channels/topic:t/events", KEY, "").await;
    events.until("topic:subscribed").await;
    broker.handle.refuse_new();
    let text = events.until("event: close").await;
    assert!(text.contains(r#""code":1012"#), "{text}");
}
