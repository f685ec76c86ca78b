//! Messages and requests over HTTP at the edge: whose they are, what bounds them, and what ends
//! them. The broker is a function in this process.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use common::{
    assertion::ClientIdentity,
    error::{ClientError, ErrorCode},
};
use serde_json::json;
use tokio::sync::Notify;
use web_server::{Beside, Call, CallKind};

use crate::harness::{Edge, eventually, in_time, until_refused};

const MESSAGES: &str = "/api/v1/messages";
const REQUEST: &str = "/api/v1/request";

/// A broker that answers every message, and no request before it is released.
#[derive(Clone, Default)]
struct Broker {
    calls: Arc<Mutex<Vec<(ClientIdentity, Call)>>>,
    waiting: Arc<AtomicUsize>,
    release: Arc<Notify>,
}

/// Counts a call for as long as it is waited for.
struct Waits(Arc<AtomicUsize>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Broker {
    fn edge(&self) -> Edge {
        let broker = self.clone();
        let calls = move |identity: ClientIdentity, call: Call| {
            let broker = broker.clone();
            let kind = call.kind;
            broker.calls.lock().expect("whole").push((identity, call));
            Box::pin(async move {
                if kind == CallKind::Request {
                    broker.waiting.fetch_add(1, Relaxed);
                    let _waits = Waits(Arc::clone(&broker.waiting));
                    broker.release.notified().await;
                    return Err(ClientError::new(ErrorCode::ReplyTimeout));
                }
                Ok(r#"{"id":"1"}"#.to_owned())
            }) as futures_util::future::LocalBoxFuture<'static, _>
        };
        Edge::beside(Beside { sessions: Arc::new(|_| Err(ErrorCode::NotReady)), calls: Some(Arc::new(calls)) })
    }

    async fn waits_for(&self, count: usize) {
        eventually("so many calls wait", async || (self.waiting.load(Relaxed) == count).then_some(())).await;
    }

    fn last(&self) -> (ClientIdentity, Call) {
        self.calls.lock().expect("whole").last().expect("a call").clone()
    }
}

async fn session(edge: &Edge) -> (String, String) {
    let answer = edge.request("POST", "/api/client", &[]).await;
    let text = |field: &str| answer.json()[field].as_str().expect("a string").to_owned();
    (text("client_id"), format!("Bearer {}", text("token")))
}

#[actix_web::test]
async fn a_call_is_passed_on_as_it_came_for_the_session_that_proved_itself() {
    let broker = Broker::default();
    let edge = broker.edge();
    let (id, token) = session(&edge).await;
    let body = json!({"type":"a:b","target":"agent:a"});
    let answer = edge.post(MESSAGES, &[("Authorization", &token), ("User-Agent", "a function")], &body).await;
    assert_eq!((answer.status, answer.text()), (200, r#"{"id":"1"}"#.to_owned()));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("content-security-policy").is_some(), "as every answer has");
    let (identity, call) = broker.last();
    assert_eq!((identity.session_id.to_string(), identity.ip.as_deref()), (id, Some("127.0.0.1")));
    assert_eq!(identity.user_agent.as_deref(), Some("a function"));
    assert_eq!((call.kind, call.body.as_ref(), call.key), (CallKind::Publish, body.to_string().as_bytes(), None));

    let headers = [("Authorization", token.as_str()), ("Idempotency-Key", "k")];
    let asking = edge.post(REQUEST, &headers, &body);
    let (refused, ()) = tokio::join!(asking, async {
        broker.waits_for(1).await;
        broker.release.notify_one();
    });
    assert_eq!((refused.status, refused.error_code()), (504, "reply_timeout".to_owned()));
    assert_eq!(broker.last().1.key.as_deref(), Some("k"));
}

#[actix_web::test]
async fn strangers_and_pages_of_other_sites_do_not_call() {
    let broker = Broker::default();
    let edge = broker.edge();
    let body = json!({"type":"a:b"});
    for path in [MESSAGES, REQUEST] {
        assert_eq!(edge.post(path, &[], &body).await.error_code(), "unauthorized");
        assert_eq!(edge.post(path, &[("Authorization", "Bearer forged")], &body).await.error_code(), "unauthorized");
        let made = edge.request("POST", "/api/client", &[]).await;
        let cookie = format!("agent_bridge_session={}", made.cookie().expect("a cookie").0);
        let forged = edge.post(path, &[("Cookie", &cookie), ("Origin", "http://evil.example")], &body).await;
        assert_eq!(forged.error_code(), "origin_not_allowed");
        assert_eq!(edge.get(path).await.status, 405);
    }
    assert!(broker.calls.lock().expect("whole").is_empty());
    let made = edge.request("POST", "/api/client", &[]).await;
    let cookie = format!("agent_bridge_session={}", made.cookie().expect("a cookie").0);
    let own = format!("http://{}", edge.host());
    assert_eq!(edge.post(MESSAGES, &[("Cookie", &cookie), ("Origin", &own)], &body).await.status, 200);
}

#[actix_web::test]
async fn a_call_counts_as_a_socket_of_its_session_while_it_waits() {
    let broker = Broker::default();
    let edge = broker.edge();
    let (_, token) = session(&edge).await;
    let body = json!({"target":"agent:a"});
    let most = edge.settings.limits.max_session_connections;
    let headers = [("Authorization", token.as_str())];
    let calls = futures_util::future::join_all((0..most).map(|_| edge.post(REQUEST, &headers, &body)));
    let (answers, ()) = tokio::join!(calls, async {
        broker.waits_for(most).await;
        let refused = edge.post(MESSAGES, &[("Authorization", &token)], &body).await;
        assert_eq!(refused.error_code(), "too_many_connections");
        let (_, other) = session(&edge).await;
        assert_eq!(edge.post(MESSAGES, &[("Authorization", &other)], &body).await.status, 200, "another has its own");
        broker.release.notify_waiters();
    });
    assert!(answers.iter().all(|answer| answer.status == 504));
    assert_eq!(edge.post(MESSAGES, &[("Authorization", &token)], &body).await.status, 200, "there is room again");
}

#[actix_web::test]
async fn a_logout_a_hang_up_and_a_drain_end_a_call() {
    let broker = Broker::default();
    let edge = broker.edge();
    let (_, token) = session(&edge).await;
    let headers = [("Authorization", token.as_str())];
    let body = json!({"target":"agent:a"});
    {
        // Dropped before it is answered.
        let asking = edge.post(REQUEST, &headers, &body);
        tokio::select! {
            _ = asking => panic!("answered"),
            () = broker.waits_for(1) => {}
        }
    }
    broker.waits_for(0).await;
    let (ended, ()) = tokio::join!(edge.post(REQUEST, &headers, &body), async {
        broker.waits_for(1).await;
        assert_eq!(edge.request("DELETE", "/api/client/session", &headers).await.status, 204);
    });
    assert_eq!(ended.error_code(), "session_ended");
    broker.waits_for(0).await;

    let (_, token) = session(&edge).await;
    let headers = [("Authorization", token.as_str())];
    let (ended, ()) = tokio::join!(edge.post(REQUEST, &headers, &body), async {
        broker.waits_for(1).await;
        in_time("drained", edge.handle.drain()).await;
    });
    assert_eq!(ended.error_code(), "service_restart");
    broker.waits_for(0).await;
}

#[actix_web::test]
async fn a_body_that_is_too_long_is_refused_and_a_broker_that_is_away_is_said() {
    let broker = Broker::default();
    let edge = broker.edge();
    let (_, token) = session(&edge).await;
    let long = json!({"payload": "x".repeat(edge.settings.limits.client_frame_bytes())});
    assert_eq!(edge.post(MESSAGES, &[("Authorization", &token)], &long).await.error_code(), "frame_too_big");

    let alone = Edge::start();
    let (_, token) = session(&alone).await;
    let answer = alone.post(MESSAGES, &[("Authorization", &token)], &json!({"type":"a:b"})).await;
    assert_eq!((answer.status, answer.error_code()), (503, "not_ready".to_owned()));
    assert!(answer.header("retry-after").is_some());
}

#[actix_web::test]
async fn calls_have_a_rate() {
    let edge = Edge::with(|settings| {
        settings.limits.exempt_networks.clear();
        settings.rates.calls = common::rate::Rate::new(1, 2);
    });
    let (_, token) = session(&edge).await;
    let refused = until_refused(async |_| edge.post(MESSAGES, &[("Authorization", &token)], &json!({"type":"a:b"})).await).await;
    assert_eq!((refused.status, refused.error_code()), (429, "rate_limited".to_owned()));
    assert!(refused.header("retry-after").is_some());
}
