//! Revocations of edges: the broker refuses those credentials, and tells the other edges.

use std::time::{SystemTime, UNIX_EPOCH};

use common::{
    assertion::{self, ClientIdentity},
    id::SessionId,
};
use serde_json::{Value, json};

use crate::harness::{Ended, TestBroker, login};

async fn start(folder: &tempfile::TempDir) -> TestBroker {
    TestBroker::with(|settings| settings.data.dir = folder.path().to_owned()).await
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn ended(session: SessionId) -> Value {
    json!({"session":session,"at":now(),"until":now() + 1000,"user":true})
}

async fn tell(broker: &TestBroker, body: &Value) -> (u16, Value) {
    let assertion = assertion::mint_edge(&broker.settings.broker.bridge_secret).expect("signs");
    let headers = format!("Authorization: Bearer {assertion}\r\nContent-Type: application/json\r\n");
    broker.ask_with("POST", "/api/v1/revocations", &headers, &body.to_string()).await
}

async fn revoke(broker: &TestBroker, revocation: Value) {
    assert_eq!(tell(broker, &json!({"revocations":[revocation]})).await.0, 200);
}

#[actix_rt::test]
async fn an_ended_session_is_closed_and_refused_also_after_a_restart() {
    let folder = tempfile::tempdir().expect("temp dir");
    let broker = start(&folder).await;
    let mine = ClientIdentity { login: Some(login("ann")), ..ClientIdentity::anonymous(SessionId::fresh()) };
    let other = ClientIdentity { session_id: SessionId::fresh(), ..mine.clone() };
    let (mut socket, mut others) = (broker.session_as(mine.clone()).await, broker.session_as(other.clone()).await);
    revoke(&broker, ended(mine.session_id)).await;
    assert_eq!(socket.ended().await, Ended::Code(4003));
    assert_eq!(broker.dial_session(&mine).await.map(drop), Err(401));
    others.settle().await;
    assert_eq!(broker.stats().await["errors"]["session_ended"], 1);
    assert_eq!(broker.handle.local().connect(mine.clone()).err().map(|code| code.as_str()), Some("session_ended"));
    broker.handle.drain().await;

    let broker = start(&folder).await;
    assert_eq!(broker.dial_session(&mine).await.map(drop), Err(401));
    broker.session_as(other).await;
}

#[actix_rt::test]
async fn credentials_from_before_a_login_are_refused_and_those_of_the_login_are_not() {
    let folder = tempfile::tempdir().expect("temp dir");
    let broker = start(&folder).await;
    let before = ClientIdentity::anonymous(SessionId::fresh());
    let mut socket = broker.session_as(before.clone()).await;
    revoke(&broker, json!({"session":before.session_id,"least":1,"at":now(),"until":now() + 1000})).await;
    socket.settle().await;
    assert_eq!(broker.dial_session(&before).await.map(drop), Err(401));
    let after = ClientIdentity { generation: 1, login: Some(login("ann")), ..before };
    broker.session_as(after).await;
}

#[actix_rt::test]
async fn sockets_opened_with_a_newer_token_of_an_issuer_stay() {
    let folder = tempfile::tempdir().expect("temp dir");
    let broker = start(&folder).await;
    let of =
        |generation| ClientIdentity { generation, login: Some(login("ann")), ..ClientIdentity::anonymous(SessionId::fresh()) };
    let (older, later) = (of(now() - 10), of(now() + 10));
    let later = ClientIdentity { session_id: older.session_id, ..later };
    let (mut first, mut second) = (broker.session_as(older).await, broker.session_as(later).await);
    revoke(&broker, json!({"session":first.session_id,"least":now(),"at":now(),"until":now() + 1000,"user":true})).await;
    assert_eq!(first.ended().await, Ended::Code(4003));
    second.settle().await;
}

#[actix_rt::test]
async fn revocations_are_sent_to_edges_only() {
    let folder = tempfile::tempdir().expect("temp dir");
    let broker = start(&folder).await;
    let (_, nothing) = tell(&broker, &json!({})).await;
    assert_eq!((&nothing["revocations"], &nothing["more"]), (&json!([]), &json!(false)));
    let session = SessionId::fresh();
    revoke(&broker, ended(session)).await;
    let (_, first) = tell(&broker, &json!({"life":nothing["life"],"after":nothing["upto"]})).await;
    assert_eq!(first["revocations"][0]["session"], json!(session));
    let (_, again) = tell(&broker, &json!({"life":first["life"],"after":first["upto"]})).await;
    assert_eq!(again["revocations"], json!([]), "once");
    let (_, another) = tell(&broker, &json!({"life":"of another broker","after":first["upto"]})).await;
    assert_eq!(another["revocations"], first["revocations"], "numbers of another life say nothing");

    let too_many: Vec<_> = (0..1001).map(|_| ended(session)).collect();
    assert_eq!(tell(&broker, &json!({"revocations":too_many})).await.0, 400);
    assert_eq!(tell(&broker, &json!({"revocations":"all"})).await.0, 400);
    let client = assertion::mint(&ClientIdentity::anonymous(session), &broker.settings.broker.bridge_secret).expect("signs");
    for bearer in ["", "Authorization: Bearer test-agent-key\r\n", &format!("Authorization: Bearer {client}\r\n")] {
        let headers = format!("{bearer}Content-Type: application/json\r\n");
        assert_eq!(broker.ask_with("POST", "/api/v1/revocations", &headers, "{}").await.0, 401);
    }
}
