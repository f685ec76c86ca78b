//! The names under which the broker answers.

use common::{
    assertion::{self, ClientIdentity},
    config::{AgentKey, DEV_AGENT_KEY},
    id::SessionId,
    secret::Secret,
};
use serde_json::Value;

use crate::harness::TestBroker;

/// A name that somebody made resolve to this machine.
const REBOUND: &str = "evil.example:8080";
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ROUTES: [(&str, &str); 11] = [
    ("GET", "/ws/agent?agent_id=a"),
    ("GET", "/ws/client/6f9619ff-8b86-4011-b42d-00c04fc964ff"),
    ("GET", "/stats"),
    ("GET", "/api/v1/keys"),
    ("POST", "/api/v1/keys/reload"),
    ("GET", "/api/v1/channels"),
    ("GET", "/api/v1/channels/topic:t/history"),
    ("GET", "/api/v1/audit"),
    ("POST", "/api/v1/audit"),
    ("POST", "/api/v1/revocations"),
    ("GET", "/nothing"),
];

fn code(body: &Value) -> &str {
    body["error"]["code"].as_str().unwrap_or_default()
}

async fn with_development_key() -> TestBroker {
    TestBroker::with(|settings| {
        settings.broker.operator_token = Secret::new("an-operator-token");
        settings.broker.hosts = vec!["bridge.example".into()];
        settings.broker.agent_keys.push(AgentKey { name: "dev".into(), key: Secret::new(DEV_AGENT_KEY) });
    })
    .await
}

#[actix_rt::test]
async fn under_a_strange_name_every_route_and_upgrade_is_refused() {
    let broker = with_development_key().await;
    for (method, path) in ROUTES {
        for headers in ["", UPGRADE, "Origin: http://evil.example:8080\r\nSec-Fetch-Site: same-origin\r\n"] {
            let (status, body) = broker.ask_under(REBOUND, method, path, headers).await;
            assert_eq!((status, code(&body)), (421, "host_not_allowed"), "{method} {path} {headers:?}");
        }
        let (_, body) = broker.ask_under("bridge.example", method, path, "").await;
        assert_ne!(code(&body), "host_not_allowed", "{method} {path}");
    }
    let (_, body) = broker.ask_under(REBOUND, "GET", "http://localhost/stats", "").await;
    assert_eq!(code(&body), "host_not_allowed");
    let (_, body) = broker.ask_under("localhost", "GET", "http://evil.example/stats", "").await;
    assert_eq!(code(&body), "host_not_allowed");
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(broker.ask_under(REBOUND, "GET", path, "").await.0, 200, "{path}");
    }
}

#[actix_rt::test]
async fn the_development_key_is_no_secret_under_a_strange_name() {
    let broker = with_development_key().await;
    let headers = |key: &str| format!("Authorization: Bearer {key}\r\n{UPGRADE}");
    for path in ["/ws/agent?agent_id=a", "/api/v1/channels/topic:t/history"] {
        let (status, body) = broker.ask_under(REBOUND, "GET", path, &headers(DEV_AGENT_KEY)).await;
        assert_eq!((status, code(&body)), (421, "host_not_allowed"), "{path}");
        let (status, body) = broker.ask_under(REBOUND, "GET", path, &headers("a-guess")).await;
        assert_eq!((status, code(&body)), (401, "unauthorized"), "{path}");
        let (status, _) = broker.ask_under("localhost", "GET", path, &headers(DEV_AGENT_KEY)).await;
        assert!([101, 200].contains(&status), "{path}: {status}");
    }
}

#[actix_rt::test]
async fn requests_with_an_operators_secret_need_no_listed_host() {
    let broker = with_development_key().await;
    let bearer = |secret: &str| format!("Authorization: Bearer {secret}\r\n");
    for (path, secret) in [
        ("/stats", "an-operator-token"),
        ("/api/v1/channels", "an-operator-token"),
        ("/api/v1/channels/topic:t/history", "test-agent-key"),
    ] {
        assert_eq!(broker.ask_under(REBOUND, "GET", path, &bearer(secret)).await.0, 200, "{path}");
    }
    let upgrade = bearer("test-agent-key") + UPGRADE;
    assert_eq!(broker.ask_under(REBOUND, "GET", "/ws/agent?agent_id=a", &upgrade).await.0, 101);
    let identity = ClientIdentity::anonymous(SessionId::fresh());
    let asserted = assertion::mint(&identity, &broker.settings.broker.bridge_secret).expect("signs");
    let path = format!("/ws/client/{}", identity.session_id);
    assert_eq!(broker.ask_under(REBOUND, "GET", &path, &(bearer(&asserted) + UPGRADE)).await.0, 101);
}

#[actix_rt::test]
async fn the_development_key_of_earlier_releases_is_refused_with_a_hint() {
    let broker = with_development_key().await;
    let (status, body) = broker.get_with("/ws/agent", "Authorization: Bearer dev-agent-key\r\n").await;
    assert_eq!((status, code(&body)), (401, "unauthorized"));
    assert!(body["error"]["message"].as_str().is_some_and(|message| message.contains("`dev_token`")), "{body}");
}
