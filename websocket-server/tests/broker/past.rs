//! History over HTTP: channels, their messages, the audit log.

use common::{
    assertion::{self, ClientIdentity},
    id::SessionId,
    rate::Rate,
    secret::Secret,
};
use serde_json::{Value, json};

use crate::harness::{TestBroker, eventually};

const TOKEN: &str = "an-operator-token";

async fn broker() -> TestBroker {
    TestBroker::with(|settings| settings.broker.operator_token = Secret::new(TOKEN)).await
}

async fn ask(broker: &TestBroker, path: &str, token: &str) -> (u16, Value) {
    broker.get_with(path, &format!("Authorization: Bearer {token}\r\n")).await
}

#[actix_rt::test]
async fn operators_see_what_is_stored_and_read_it_in_pages() {
    let broker = broker().await;
    let mut agent = broker.agent("a").await;
    for at in 0..3 {
        agent
            .send(json!({"type":"news:new","id":at.to_string(),"target":"topic:room/1","delivery":"durable","payload":at}))
            .await;
        agent.expect("message:accepted").await;
    }
    let (status, list) = ask(&broker, "/api/v1/channels?family=topic", TOKEN).await;
    assert_eq!(
        (status, &list["channels"][0]["channel"], &list["channels"][0]["messages"]),
        (200, &json!("topic:room/1"), &json!(3))
    );
    let (status, page) = ask(&broker, "/api/v1/channels/topic:room/1/history?limit=2", TOKEN).await;
    assert_eq!((status, &page["messages"][1]["payload"], &page["has_more"]), (200, &json!(1), &json!(true)));
    let path = format!("/api/v1/channels/topic:room%2F1/history?after={}", page["next"]);
    let (status, page) = ask(&broker, &path, TOKEN).await;
    assert_eq!((status, &page["messages"][0]["payload"], &page["has_more"]), (200, &json!(2), &json!(false)));
    for (path, status) in [
        ("/api/v1/channels/nothing/history", 400),
        ("/api/v1/channels/topic:t/history?limit=257", 400),
        ("/api/v1/channels/topic:t/history?after=1&last=1", 400),
        ("/api/v1/channels/topic:t/history?since=today", 400),
        ("/api/v1/channels/topic:t/history?unknown=1", 400),
        ("/api/v1/channels?family=none", 400),
        ("/api/v1/channels/topic:t/history", 200),
    ] {
        assert_eq!(ask(&broker, path, TOKEN).await.0, status, "{path}");
    }
}

#[actix_rt::test]
async fn an_agents_key_reads_what_the_agent_may_read_and_strangers_read_nothing() {
    let broker = broker().await;
    let mut agent = broker.agent("a").await;
    agent.send(json!({"type":"job:new","id":"1","target":"agent:b","delivery":"durable"})).await;
    agent.expect("message:accepted").await;
    let history = "/api/v1/channels/agent:b/history";
    assert_eq!(ask(&broker, &format!("{history}?agent_id=b"), "test-agent-key").await.0, 200);
    assert_eq!(ask(&broker, &format!("{history}?agent_id=a"), "test-agent-key").await.0, 403);
    assert_eq!(ask(&broker, history, "test-agent-key").await.0, 403);
    assert_eq!(ask(&broker, history, "another").await.0, 401);
    assert_eq!(broker.get(history).await.0, 401);
    for path in ["/api/v1/channels", "/api/v1/audit"] {
        assert_eq!(ask(&broker, path, "test-agent-key").await.0, 401, "{path}");
        assert_eq!(TestBroker::start().await.get(path).await.0, 404, "without operators: {path}");
    }
}

#[actix_rt::test]
async fn the_audit_log_records_logins_refusals_and_operations() {
    let broker = broker().await;
    let agent = broker.agent("a").await;
    let mut session = broker.session().await;
    assert_eq!(broker.dial("/ws/agent?agent_id=x", Some("wrong")).await.err(), Some(401));
    session.send(json!({"type":"x:y","target":"broadcast:all","payload":"a secret"})).await;
    session.expect_error("not_allowed").await;
    agent.close().await;
    ask(&broker, "/api/v1/channels/topic:t/history", TOKEN).await;
    let entries = |kind: &str| {
        let path = format!("/api/v1/audit?kind={kind}");
        let broker = &broker;
        async move { ask(broker, &path, TOKEN).await.1["entries"].as_array().expect("entries").clone() }
    };
    let mut connections = Vec::new();
    while !connections.iter().any(|entry: &Value| entry["what"].as_str().is_some_and(|what| what.starts_with("disconnected"))) {
        connections = entries("connection").await;
    }
    assert!(connections.iter().any(|entry| entry["who"] == "agent:a" && entry["what"] == "connected with key default"));
    assert!(connections.iter().any(|entry| entry["who"] == session.address().as_str()));
    let refused = entries("authentication").await;
    assert_eq!((&refused[0]["what"], &refused[0]["origin"]), (&json!("GET /ws/agent: unauthorized"), &json!("127.0.0.1")));
    let refusals = entries("refusal").await;
    assert_eq!(refusals[0]["what"], "not_allowed broadcast:all");
    let acts = entries("admin").await;
    assert_eq!((&acts[0]["who"], &acts[0]["what"]), (&json!("operator"), &json!("read topic:t")));
    assert_eq!(acts.last().expect("an entry")["what"], "started");
    let all = ask(&broker, "/api/v1/audit?limit=1000", TOKEN).await.1;
    assert!(!all.to_string().contains("a secret"), "nothing of what was said");
    let oldest = all["entries"].as_array().expect("entries").last().expect("an entry")["id"].clone();
    let none = ask(&broker, &format!("/api/v1/audit?before={oldest}"), TOKEN).await.1;
    assert_eq!(none["entries"], json!([]));
    for wrong in ["since=yesterday", "kind=conection"] {
        assert_eq!(ask(&broker, &format!("/api/v1/audit?{wrong}"), TOKEN).await.0, 400, "{wrong}");
    }
}

#[actix_rt::test]
async fn a_request_that_is_wrong_does_not_tell_whether_its_token_is_right() {
    let broker = TestBroker::with(|settings| settings.broker.operator_token = Secret::new(TOKEN)).await;
    for token in [TOKEN, "a guess"] {
        assert_eq!(ask(&broker, "/api/v1/channels/topic:t/history?agent_id=not%20one", token).await.0, 400, "{token}");
    }
}

#[actix_rt::test]
async fn refused_requests_are_recorded_and_counted_on_every_route() {
    let broker = TestBroker::with(|settings| {
        settings.broker.operator_token = Secret::new(TOKEN);
        settings.access.user_agents = vec!["b".into()];
    })
    .await;
    let forged = format!("/ws/client/{}", SessionId::fresh());
    let ways = ["/stats", "/api/v1/keys", "/api/v1/channels", "/api/v1/audit", "/api/v1/channels/topic:t/history", &forged];
    for path in ways {
        assert_eq!(ask(&broker, path, "a guess").await.0, 401, "{path}");
    }
    let history = "/api/v1/channels/agent:b/history";
    assert_eq!(ask(&broker, history, "test-agent-key").await.0, 403);
    let mut session = broker.session().await;
    session.send(json!({"type":"x:y","target":"agent:b"})).await;
    session.expect_error("login_required").await;

    let noted = ask(&broker, "/api/v1/audit", TOKEN).await.1["entries"].clone();
    let noted: Vec<_> = noted.as_array().expect("entries").iter().map(|entry| (&entry["kind"], &entry["what"])).collect();
    for path in ways {
        let what = json!(format!("GET {path}: unauthorized"));
        assert_eq!(noted.iter().filter(|entry| **entry == (&json!("authentication"), &what)).count(), 1, "{path} in {noted:?}");
    }
    assert!(noted.contains(&(&json!("refusal"), &json!(format!("GET {history}: not_allowed")))), "{noted:?}");
    assert!(noted.contains(&(&json!("refusal"), &json!("login_required agent:b"))), "{noted:?}");
    let errors = broker.stats().await["errors"].clone();
    assert_eq!((&errors["unauthorized"], &errors["not_allowed"]), (&json!(ways.len()), &json!(1)), "{errors}");
}

#[actix_rt::test]
async fn guesses_at_the_operators_token_cost_what_guesses_at_keys_cost() {
    let broker = TestBroker::with(|settings| {
        settings.broker.operator_token = Secret::new(TOKEN);
        settings.limits.exempt_networks.clear();
        settings.rates.operators = Rate::UNLIMITED;
        settings.limits.free_failures = 3;
        settings.limits.first_failure_wait = std::time::Duration::from_secs(600);
        settings.proxies.trusted = vec!["127.0.0.1".parse().expect("a network")];
    })
    .await;
    let ask = async |path: &str, address: usize, token: &str| {
        let headers = format!("X-Forwarded-For: 192.0.2.{address}\r\nAuthorization: Bearer {token}\r\n");
        broker.get_with(path, &headers).await.0
    };
    let paths = ["/stats", "/api/v1/keys", "/api/v1/channels", "/api/v1/audit", "/api/v1/channels/topic:t/history"];
    for (address, path) in paths.into_iter().enumerate() {
        assert_eq!(ask(path, address, TOKEN).await, 200, "{path}");
        for _ in 0..4 {
            assert_eq!(ask(path, address, "a guess").await, 401, "{path}");
        }
        for (other, _) in paths.iter().enumerate().filter(|(_, other)| **other != "/api/v1/keys") {
            assert_eq!(ask(paths[other], address, TOKEN).await, 429, "{path}: short tokens are not looked at meanwhile");
        }
        assert_eq!(ask("/api/v1/keys", 100, TOKEN).await, 200, "elsewhere they are");
    }
}

#[actix_rt::test]
async fn a_good_key_takes_back_no_guess_at_the_operators_token() {
    let broker = TestBroker::with(|settings| {
        settings.broker.operator_token = Secret::new(TOKEN);
        settings.limits.exempt_networks.clear();
        settings.limits.free_failures = 3;
        settings.limits.first_failure_wait = std::time::Duration::from_secs(600);
    })
    .await;
    let ask = async |path: &str, token: &str| broker.get_with(path, &format!("Authorization: Bearer {token}\r\n")).await.0;
    for _ in 0..4 {
        assert_eq!(ask("/stats", "a guess").await, 401);
        assert_eq!(ask("/api/v1/channels/topic:t/history?agent_id=a", "test-agent-key").await, 200);
    }
    assert_eq!(ask("/stats", TOKEN).await, 429, "it waits for its guesses");
    assert_eq!(ask("/api/v1/channels/topic:t/history?agent_id=a", "test-agent-key").await, 200, "keys do not");
}

#[actix_rt::test]
async fn a_session_that_its_edge_vouches_for_reads_what_it_may_read() {
    let broker = broker().await;
    let mut agent = broker.agent("a").await;
    let identity = ClientIdentity::anonymous(SessionId::fresh());
    let own = format!("session:{}", identity.session_id);
    for target in ["topic:t", &*own] {
        agent.send(json!({"type":"news:new","id":target,"target":target,"delivery":"durable","payload":target})).await;
        agent.expect("message:accepted").await;
    }
    let secret = &broker.handle.broker().settings.broker.bridge_secret;
    let vouched = assertion::mint(&identity, secret).expect("signs");
    let status = async |channel: &str| ask(&broker, &format!("/api/v1/channels/{channel}/history"), &vouched).await.0;
    assert_eq!(status(&format!("session:{}", SessionId::fresh())).await, 403);
    assert_eq!(status("topic:user/ann/t").await, 403, "somebody else's");
    for channel in ["topic:t", &*own] {
        let (status, page) = ask(&broker, &format!("/api/v1/channels/{channel}/history"), &vouched).await;
        assert_eq!((status, &page["messages"][0]["payload"]), (200, &json!(channel)));
    }
}

#[actix_rt::test]
async fn only_edges_report_audit_entries() {
    let broker = broker().await;
    let secret = &broker.handle.broker().settings.broker.bridge_secret;
    let entry = json!({"at":1,"kind":"authentication","who":"session:x","what":"logged in as ann","origin":"192.0.2.7"});
    let report = json!({"entries": [entry], "beyond": 7});
    let tell = async |token: &str, body: &Value| {
        let body = body.to_string();
        let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
        broker.ask_with("POST", "/api/v1/audit", &headers, &body).await.0
    };
    let edge = assertion::mint_edge(secret).expect("signs");
    let client = assertion::mint(&ClientIdentity::anonymous(SessionId::fresh()), secret).expect("signs");
    assert_eq!((tell("", &report).await, tell(TOKEN, &report).await, tell(&client, &report).await), (401, 401, 401));
    assert_eq!((tell(&edge, &json!({"entries": [{"at":1,"kind":"other"}]})).await, tell(&edge, &report).await), (400, 204));
    let entries = ask(&broker, "/api/v1/audit?kind=authentication", TOKEN).await.1["entries"].clone();
    assert_eq!((&entries[0]["what"], &entries[0]["at"]), (&json!("logged in as ann"), &json!("1970-01-01T00:00:00.001Z")));
    let counts = ask(&broker, "/api/v1/audit?kind=admin", TOKEN).await.1["entries"].to_string();
    assert!(counts.contains("\"7 more events than are written\""), "{counts}");
}

#[actix_rt::test]
async fn strangers_are_noted_at_a_rate_and_counted_beyond() {
    let broker = TestBroker::with(|settings| {
        settings.limits.exempt_networks.clear();
        settings.rates.logins = Rate::new(1, 3);
        settings.broker.operator_token = Secret::new(TOKEN);
    })
    .await;
    let path = format!("/ws/client/{}", SessionId::fresh());
    for _ in 0..50 {
        assert_eq!(broker.ask_with("GET", &path, "", "").await.0, 401);
    }
    let counted = |entry: &Value| {
        let count = entry["what"].as_str()?.strip_suffix(" more events than are written")?;
        count.parse::<usize>().ok()
    };
    eventually("everybody is noted or counted", async || {
        let log = ask(&broker, "/api/v1/audit?limit=1000", TOKEN).await.1["entries"].clone();
        let entries = log.as_array().expect("entries");
        let noted = entries.iter().filter(|entry| entry["kind"] == "authentication").count();
        assert!(noted < 25, "{noted} of 50");
        noted >= 3 && noted + entries.iter().filter_map(counted).sum::<usize>() == 50
    })
    .await;
}

#[actix_rt::test]
async fn the_audit_log_has_payloads_of_refused_messages_if_configured() {
    let broker = TestBroker::with(|settings| {
        settings.broker.operator_token = Secret::new(TOKEN);
        settings.store.audit_payloads = true;
    })
    .await;
    let mut session = broker.session().await;
    session.send(json!({"type":"x:y","target":"broadcast:all","payload":"said"})).await;
    session.expect_error("not_allowed").await;
    let entries = ask(&broker, "/api/v1/audit?kind=refusal", TOKEN).await.1["entries"].clone();
    let detail: Value = serde_json::from_str(entries[0]["detail"].as_str().expect("what was said")).expect("the frame");
    assert_eq!(detail["payload"], "said");
}

#[actix_rt::test]
async fn edges_ask_for_many_and_others_only_so_often() {
    let broker = TestBroker::with(|settings| {
        settings.limits.exempt_networks.clear();
        settings.rates.operators = Rate::new(1, 2);
        settings.broker.operator_token = Secret::new(TOKEN);
    })
    .await;
    let identity = ClientIdentity::anonymous(SessionId::fresh());
    let vouched = assertion::mint(&identity, &broker.handle.broker().settings.broker.bridge_secret).expect("signs");
    let path = format!("/api/v1/channels/session:{}/history", identity.session_id);
    for _ in 0..10 {
        assert_eq!(ask(&broker, &path, &vouched).await.0, 200);
    }
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(ask(&broker, &path, TOKEN).await.0);
    }
    assert!(statuses.starts_with(&[200, 200]) && statuses.contains(&429), "{statuses:?}");
}
