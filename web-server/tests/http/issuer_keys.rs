//! The keys of an issuer, fetched from a server that is slow or never answers.

use std::time::{Duration, Instant, SystemTime};

use common::secret::Secret;
use identity::tokens::{Algorithm, MintClaims, MintKey, MintSettings, mint};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{client::Answer, harness::Edge, harness::eventually};

/// A key that these tests publish under any id.
const KEY: &str = include_str!("../../../identity/tests/fixtures/keys/ed25519.private.pem");
const PUBLIC: &str = "uZeAL2JTr55jeNZNtPRAVqLNC7n6x0KarS9mTHOoOwc";

/// Serves a key set, or lets requests wait while there is none.
struct Issuer {
    url: String,
    ids: watch::Sender<Option<Vec<&'static str>>>,
    asked: watch::Receiver<usize>,
}

impl Issuer {
    async fn start(ids: Option<Vec<&'static str>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/keys", listener.local_addr().expect("bound"));
        let (ids, served) = watch::channel(ids);
        let (count, asked) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                tokio::spawn(serve(socket, served.clone()));
            }
        });
        Self { url, ids, asked }
    }

    fn serve(&self, ids: Option<Vec<&'static str>>) {
        self.ids.send_replace(ids);
    }

    async fn asked(&mut self, times: usize) {
        eventually("the keys are asked for", async || (*self.asked.borrow() >= times).then_some(())).await;
    }
}

async fn serve(mut socket: TcpStream, mut ids: watch::Receiver<Option<Vec<&'static str>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = socket.read_u8().await else { return };
        head.push(byte);
    }
    let Ok(ids) = ids.wait_for(Option::is_some).await.map(|ids| ids.clone().unwrap_or_default()) else { return };
    let keys: Vec<_> = ids.iter().map(|id| json!({"kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "kid": id})).collect();
    let body = json!({ "keys": keys }).to_string();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    // The client may have gone.
    let _ = socket.write_all(answer.as_bytes()).await;
}

fn edge(issuer: &Issuer) -> Edge {
    Edge::with(|settings| {
        settings.auth.jwt_issuers = vec!["https://issuer.example".into()];
        settings.auth.jwt_audiences = vec!["bridge".into()];
        settings.auth.jwks_url = Some(issuer.url.clone());
        settings.auth.jwks_least_interval = Duration::ZERO;
    })
}

async fn log_in(edge: &Edge, key_id: &str) -> Answer {
    let settings = MintSettings {
        key: MintKey::Pem(Secret::new(KEY)),
        algorithm: Algorithm::EdDSA,
        key_id: Some(key_id.into()),
        issuer: "https://issuer.example".into(),
        audience: "bridge".into(),
        lifetime: Duration::from_secs(3600),
    };
    let claims = MintClaims { subject: "ann".into(), ..MintClaims::default() };
    let token = mint(&settings, &claims, SystemTime::now()).expect("signs");
    edge.post("/auth/token", &[], &json!({"token": token.reveal()})).await
}

/// Requests that need no missing key.
async fn serves_others(edge: &Edge) {
    assert_eq!(edge.get("/").await.status, 200);
    assert_eq!(edge.request("POST", "/api/client", &[]).await.status, 201);
    let unsigned = edge.post("/auth/token", &[], &json!({"token": "rubbish"})).await;
    assert_eq!(unsigned.error_code(), "token_malformed");
}

#[actix_web::test]
async fn a_slow_fetch_holds_up_nobody_who_does_not_need_it() {
    let mut issuer = Issuer::start(Some(vec!["first"])).await;
    let edge = edge(&issuer);
    assert_eq!(log_in(&edge, "first").await.status, 201);
    issuer.serve(None);
    let before = *issuer.asked.borrow();
    let with_a_new_key = log_in(&edge, "second");
    let meanwhile = async {
        issuer.asked(before + 1).await;
        for _ in 0..5 {
            assert_eq!(log_in(&edge, "first").await.status, 201, "with a key that is here");
            serves_others(&edge).await;
        }
        assert_eq!(*issuer.asked.borrow(), before + 1, "one fetch at a time");
        issuer.serve(Some(vec!["first", "second"]));
    };
    let (answer, ()) = tokio::join!(with_a_new_key, meanwhile);
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[actix_web::test]
async fn a_token_whose_keys_never_arrive_is_refused_in_time() {
    let mut issuer = Issuer::start(Some(vec!["first"])).await;
    let edge = edge(&issuer);
    assert_eq!(log_in(&edge, "first").await.status, 201);
    issuer.serve(None);
    let never = Issuer::start(None).await;
    let without_any = self::edge(&never);
    let since = Instant::now();
    let refusals = async { tokio::join!(log_in(&edge, "second"), log_in(&without_any, "first")) };
    let meanwhile = async {
        issuer.asked(2).await;
        assert_eq!(log_in(&edge, "first").await.status, 201);
        serves_others(&edge).await;
        serves_others(&without_any).await;
        since.elapsed()
    };
    let ((unknown, unavailable), waited) = tokio::join!(refusals, meanwhile);
    assert_eq!((unknown.status, unknown.error_code().as_str()), (503, "token_keys_unavailable"), "it may be a new key");
    assert_eq!((unavailable.status, unavailable.error_code().as_str()), (503, "token_keys_unavailable"));
    let fetch_limit = Duration::from_secs(10);
    assert!(since.elapsed() >= waited && since.elapsed() < fetch_limit + crate::harness::LIMIT, "{:?}", since.elapsed());
    assert!(waited < fetch_limit, "others were served while the fetch was under way: {waited:?}");
    assert_eq!(log_in(&edge, "first").await.status, 201);
}
