//! The broker under TLS: the same actors, pumps and limits over another kind of socket.

use std::{fs, time::Duration};

use common::{
    assertion::{self, ClientIdentity},
    config::{ClientCertificates, Settings},
    id::SessionId,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tls::{
    TlsStream,
    testing::{Issued, TestAuthority, connect, connector},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    client_async,
    tungstenite::{self, client::IntoClientRequest, http::HeaderValue},
};

use crate::harness::{Ended, LIMIT, Peer, TestBroker, eventually};

const NAME: &str = "broker.example";

struct Site {
    broker: TestBroker,
    authority: TestAuthority,
    folder: TempDir,
    client: TlsConnector,
}

impl Site {
    async fn start() -> Self {
        Self::with(|_, _| ()).await
    }

    async fn with(change: impl FnOnce(&mut Settings, &TempDir)) -> Self {
        let (authority, folder) = (TestAuthority::new("servers"), tempfile::tempdir().expect("a folder"));
        let cert_file = authority.issue(&[NAME]).save(folder.path(), "cert.pem");
        let broker = TestBroker::with(|settings| {
            settings.broker.tls.cert_file = Some(cert_file);
            change(settings, &folder);
        });
        let client = connector(&authority, None);
        Self { broker: broker.await, authority, folder, client }
    }

    fn showing(&self, certificate: &Issued) -> TlsConnector {
        connector(&self.authority, Some(certificate))
    }

    async fn stream(&self) -> TlsStream {
        connect(&self.client, self.broker.handle.addr(), NAME).await.expect("a handshake")
    }

    /// The refusal's status and code, if it is refused.
    async fn dial(&self, by: &TlsConnector, path: &str, bearer: &str) -> Result<Peer<TlsStream>, (u16, Value)> {
        let stream = connect(by, self.broker.handle.addr(), NAME).await.expect("a handshake");
        let mut request = format!("wss://{NAME}{path}").into_client_request().expect("a request");
        request.headers_mut().insert("authorization", HeaderValue::from_str(&format!("Bearer {bearer}")).expect("a header"));
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(self.broker.peer(socket, None)),
            Err(tungstenite::Error::Http(response)) => {
                let body: Value = serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap_or_default();
                Err((response.status().as_u16(), body["error"]["code"].clone()))
            }
            Err(error) => panic!("no answer: {error}"),
        }
    }

    async fn agent(&self, id: &str) -> Peer<TlsStream> {
        let mut peer = self.dial(&self.client, &format!("/ws/agent?agent_id={id}"), "test-agent-key").await.expect("upgraded");
        peer.expect("connection:ack").await;
        peer.settle().await;
        peer
    }

    async fn session(&self) -> Peer<TlsStream> {
        let identity = ClientIdentity::anonymous(SessionId::fresh());
        let assertion = assertion::mint(&identity, &self.broker.settings.broker.bridge_secret).expect("signs");
        let path = format!("/ws/client/{}", identity.session_id);
        let mut peer = self.dial(&self.client, &path, &assertion).await.expect("upgraded");
        peer.session_id = Some(identity.session_id);
        peer.expect("connection:ack").await;
        peer.settle().await;
        peer
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.get_with(path, "").await
    }

    async fn get_with(&self, path: &str, headers: &str) -> (u16, Value) {
        let mut stream = self.stream().await;
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = String::new();
        // A server that ends without TLS's close message would be an error here.
        timeout(LIMIT, stream.read_to_string(&mut answer)).await.expect("in time").expect("ends in order");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap_or_default()).expect("JSON"))
    }
}

#[actix_rt::test]
async fn agents_and_sessions_talk_as_without() {
    let site = Site::start().await;
    let (mut agent, mut session) = (site.agent("planner").await, site.session().await);
    for size in [1, 16_383, 16_384, 65_536, 700_000] {
        let text = "x".repeat(size);
        session.send(json!({"type":"message:send","id":size.to_string(),"target":"agent:planner","payload":text})).await;
        let got = agent.expect("message:send").await;
        assert_eq!((got["payload"].as_str().map(str::len), &got["source"]), (Some(size), &json!(session.address())));
        let answer = json!({"type":"message:send","target":session.address(),"payload":got["payload"]});
        agent.send(answer).await;
        assert_eq!(session.expect("message:send").await["payload"].as_str().map(str::len), Some(size));
    }
    // Many at once, so that frames and TLS records do not begin and end together.
    for number in 0..2000 {
        session
            .send(json!({"type":"message:send","target":"agent:planner","payload":{"n":number,"pad":"y".repeat(number)}}))
            .await;
    }
    for number in 0..2000 {
        assert_eq!(agent.expect("message:send").await["payload"]["n"], number);
    }
    agent.close().await;
    let (status, stats) = site.get("/stats").await;
    assert_eq!((status, &stats["tls"]["names"], &stats["tls"]["fault"]), (200, &json!([NAME]), &Value::Null));
    assert_eq!(stats["tls"]["handshakes"], 3);
}

#[actix_rt::test]
async fn a_peer_that_does_not_read_is_closed_with_its_code_and_others_are_served() {
    let site = Site::with(|settings, _| {
        settings.limits.outbox_bytes = 256 * 1024;
        settings.limits.slow_consumer_timeout = Duration::from_millis(700);
        settings.heartbeat.timeout = Duration::from_secs(60);
    })
    .await;
    let (mut stuck, mut well, mut session) = (site.agent("stuck").await, site.agent("well").await, site.session().await);
    let payload = "z".repeat(60_000);
    // Its outbox, TLS's and the kernel's buffers fill up; then nothing moves any more.
    let flood = async {
        while site.get("/stats").await.1["slow_consumers"]["closed"] == 0 {
            for _ in 0..20 {
                session.send(json!({"type":"message:send","target":"agent:stuck","payload":payload})).await;
            }
            session.settle().await;
        }
    };
    timeout(LIMIT, flood).await.expect("the stuck agent is closed");
    session.send(json!({"type":"message:send","target":"agent:well","payload":"still"})).await;
    assert_eq!(well.expect("message:send").await["payload"], "still");
    assert_eq!(stuck.ended().await, Ended::Code(4008));
}

#[actix_rt::test]
async fn a_renewed_certificate_keeps_open_sockets_and_a_bad_one_is_reported() {
    let site = Site::start().await;
    let (mut agent, mut session) = (site.agent("planner").await, site.session().await);
    site.authority.issue(&[NAME, "second.example"]).save(site.folder.path(), "cert.pem");
    site.broker.handle.reload_certificate().await;
    connect(&site.client, site.broker.handle.addr(), "second.example").await.expect("the new one");
    session.send(json!({"type":"message:send","target":"agent:planner","payload":"over the old one"})).await;
    agent.expect("message:send").await;

    assert_eq!(site.get("/health/ready").await.1["tls"]["fault"], Value::Null);
    fs::write(site.folder.path().join("cert.pem"), "rubbish").expect("written");
    eventually("the bad file is noticed without being told", || {
        let site = &site;
        async move { site.get("/health/ready").await.1["tls"]["fault"].is_string() }
    })
    .await;
    let (status, ready) = site.get("/health/ready").await;
    assert_eq!(status, 200, "the one before is in force");
    assert_eq!(ready["tls"]["fault"], "tls_certificate_invalid", "strangers ask as well: a code and no more");
    let told = site.get("/stats").await.1["tls"]["fault"].as_str().unwrap_or_default().to_owned();
    assert!(told.contains("cert.pem"), "{told}");
    connect(&site.client, site.broker.handle.addr(), "second.example").await.expect("still");
}

#[actix_rt::test]
async fn a_request_without_tls_is_told_to_use_tls() {
    let site = Site::start().await;
    for path in ["/health/ready", "/ws/agent"] {
        let (status, body) = site.broker.get(path).await;
        assert_eq!((status, &body["error"]["code"]), (400, &json!("tls_required")));
    }
    assert_eq!(site.broker.dial("/ws/agent", Some("test-agent-key")).await.map(drop), Err(400));
    assert_eq!(site.get("/stats").await.1["tls"]["not_tls"], 3);
}

#[actix_rt::test]
async fn handshakes_are_bounded_in_time_and_number() {
    let site = Site::with(|settings, _| {
        settings.limits.handshake_timeout = Duration::from_secs(1);
        settings.limits.max_handshakes = 2;
    })
    .await;
    let addr = site.broker.handle.addr();
    let mut silent = [TcpStream::connect(addr).await.expect("connects"), TcpStream::connect(addr).await.expect("connects")];
    // They begin a handshake and stop; meanwhile there is no place for another.
    for socket in &mut silent {
        socket.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.expect("writes");
    }
    let (_, stats) = timeout(LIMIT, site.get("/stats")).await.expect("their time is up");
    assert_eq!((&stats["tls"]["timed_out"], &stats["tls"]["handshakes"]), (&json!(2), &json!(1)));
    for socket in &mut silent {
        assert_eq!(timeout(LIMIT, socket.read(&mut [0; 64])).await.expect("closed").unwrap_or(0), 0);
    }
}

#[actix_rt::test]
async fn agents_need_a_certificate_if_configured() {
    let (agents, others) = (TestAuthority::new("agents"), TestAuthority::new("others"));
    let site = Site::with(|settings, folder| {
        settings.broker.client_ca_file = Some(agents.save(folder.path(), "agents.pem"));
        settings.broker.client_certificates = ClientCertificates::Required;
        settings.broker.client_names = true;
    })
    .await;
    let path = "/ws/agent?agent_id=planner";
    let refused = |status: u16, code: &str| Some((status, json!(code)));
    let without = site.dial(&site.client, path, "test-agent-key").await;
    assert_eq!(without.err(), refused(401, "client_certificate_required"));

    let named = site.showing(&agents.issue(&["planner", "helper"]));
    let mut planner = site.dial(&named, path, "test-agent-key").await.expect("upgraded");
    planner.expect("connection:ack").await;
    assert_eq!(site.dial(&named, path, "wrong").await.err(), refused(401, "unauthorized"), "the key is needed as well");
    let other = site.dial(&named, "/ws/agent?agent_id=other", "test-agent-key").await;
    assert_eq!(other.err(), refused(403, "not_allowed"));

    let mut unnamed = site.dial(&named, "/ws/agent", "test-agent-key").await.expect("upgraded");
    unnamed.send(json!({"type":"agent:register","payload":{"agent_id":"other"}})).await;
    unnamed.expect_error("not_allowed").await;
    unnamed.send(json!({"type":"agent:register","payload":{"agent_id":"helper"}})).await;
    unnamed.expect("agent:registered").await;

    let foreign = connect(&site.showing(&others.issue(&["planner"])), site.broker.handle.addr(), NAME).await;
    // The client has done its part before it hears the server's decision.
    if let Ok(mut stream) = foreign {
        let _ = stream.write_all(b"GET /stats HTTP/1.0\r\n\r\n").await;
        assert!(timeout(LIMIT, stream.read_exact(&mut [0])).await.expect("in time").is_err());
    }
    // History over HTTP is for those who may open a socket.
    let history = "/api/v1/channels/agent:planner/history?agent_id=planner";
    let (status, refusal) = site.get_with(history, "Authorization: test-agent-key\r\n").await;
    assert_eq!((status, &refusal["error"]["code"]), (401, &json!("client_certificate_required")));
    // Sessions through the edge, and operators, need none.
    site.session().await;
    assert_eq!(site.get("/stats").await.0, 200);
}

#[actix_rt::test]
async fn a_broker_with_invalid_files_does_not_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = Settings::for_tests();
    settings.data.dir = folder.path().to_owned();
    settings.broker.tls.cert_file = Some(folder.path().join("absent.pem"));
    let error = websocket_server::start(&settings).await.expect_err("refused").to_string();
    assert!(error.contains("absent.pem") && error.ends_with("(tls_file_unreadable)"), "{error}");
}
