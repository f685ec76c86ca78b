//! TLS from end to end: processes that dial each other with TLS, certificates that change while
//! they run or that they order.

use std::{net::SocketAddr, path::PathBuf};

use serde_json::{Value, json};
use tls::{
    ClientTls, TlsStream, Trust,
    testing::{TestAuthority, connect, connector},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{client_async, tungstenite::client::IntoClientRequest};

use crate::{
    harness::{Peer, Process, Site, eventually, in_time},
    pebble::Place,
};

const NAME: &str = "bridge.example";

/// An installation whose broker and edge speak TLS with certificates of a test authority.
struct Tls {
    site: Site,
    authority: TestAuthority,
    ca_file: PathBuf,
}

impl Tls {
    fn new() -> Self {
        let (site, authority) = (Site::new(), TestAuthority::new("site"));
        let ca_file = authority.save(site.folder(), "ca.pem");
        let broker = authority.issue(&["localhost"]).save(site.folder(), "broker.pem");
        let web = authority.issue(&[NAME]).save(site.folder(), "web.pem");
        let site = site.with("broker.tls_cert_file", &broker.display().to_string());
        let site = site.with("web.tls_cert_file", &web.display().to_string());
        Self { site, authority, ca_file }
    }

    async fn edge(&self) -> TlsStream {
        connect(&connector(&self.authority, None), self.site.edge, NAME).await.expect("a handshake")
    }

    async fn session(&self) -> Peer<TlsStream> {
        let answer = ask(self.edge().await, "POST", "/api/client").await;
        let (id, token) = (answer["client_id"].as_str().expect("an id"), answer["token"].as_str().expect("a token"));
        let mut request = format!("wss://{NAME}/ws/{id}").into_client_request().expect("a request");
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
        let (socket, _) = client_async(request, self.edge().await).await.expect("upgraded");
        let mut peer = Peer::of(socket);
        peer.expect_ack(id).await;
        peer
    }
}

/// The body of the answer to a request.
async fn ask(stream: TlsStream, method: &str, path: &str) -> Value {
    ask_as(stream, method, path, "").await
}

/// `headers`: further header lines, each with its line end.
async fn ask_as(mut stream: TlsStream, method: &str, path: &str, headers: &str) -> Value {
    // Statistics are for this machine under its own name, whatever name the handshake was for.
    let head = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    in_time("an answer", stream.read_to_string(&mut answer)).await.expect("ends in order");
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON")
}

async fn healthy(site: &Site, part: &str, process: &mut Process) {
    process.wait_until(async || site.is_healthy(part)).await;
}

/// A fresh session reads its own inbox over HTTP, for which its edge asks the broker.
async fn history_is_read(tls: &Tls) {
    let session = ask(tls.edge().await, "POST", "/api/client").await;
    let text = |field: &str| session[field].as_str().expect("a text").to_owned();
    let (path, header) = (
        format!("/api/v1/channels/session:{}/history", text("client_id")),
        format!("Authorization: Bearer {}\r\n", text("token")),
    );
    let page = ask_as(tls.edge().await, "GET", &path, &header).await;
    assert_eq!(page["messages"], json!([]), "{page}");
}

/// Asks the demo agent until it is connected.
async fn demo_answers(peer: &mut Peer<TlsStream>) {
    eventually("the demo agent answers", async || {
        peer.ask("1", "agent:demo", json!({"text":"hello"}), 5000).await;
        peer.answer_to("1").await["type"] != "system:error"
    })
    .await;
}

#[tokio::test]
async fn every_part_alone_dials_the_next_by_tls() {
    let tls = Tls::new();
    let url = format!("wss://localhost:{}", tls.site.broker.port());
    let site = tls.site.clone().with("broker.ca_file", &tls.ca_file.display().to_string());
    let site = site.with("web.broker_url", &url).with("demo.url", &url);
    let mut broker = site.spawned("broker", &["broker"]);
    healthy(&site, "broker", &mut broker).await;
    let mut edge = site.spawned("edge", &["web"]);
    healthy(&site, "web", &mut edge).await;
    let _demo = site.spawned("demo", &["demo"]);
    let mut client = tls.session().await;
    demo_answers(&mut client).await;
    history_is_read(&tls).await;

    // A certificate of an unknown authority, in the broker's place: the edge does not talk to it.
    let stranger = TestAuthority::new("stranger");
    stranger.issue(&["localhost"]).save(site.folder(), "broker.pem");
    broker.kill();
    let mut broker = site.spawned("broker", &["broker"]);
    healthy(&site, "broker", &mut broker).await;
    client.expect("system:upstream").await;
    let failed = async || ask(tls.edge().await, "GET", "/stats").await["upstream"]["failed_dials"].as_u64() > Some(2);
    eventually("the edge is refused again and again", failed).await;
    let stats =
        ask(connect(&connector(&stranger, None), site.broker, "localhost").await.expect("it serves"), "GET", "/stats").await;
    assert_eq!(stats["sessions"]["connected"], 0);

    // The right one again, put there while it runs.
    tls.authority.issue(&["localhost"]).save(site.folder(), "broker.pem");
    broker.hang_up();
    demo_answers(&mut client).await;
    assert!(edge.ended().is_none() && broker.ended().is_none());
}

#[tokio::test]
async fn the_daemon_with_the_demo_agent_inside_takes_up_a_renewed_certificate() {
    let tls = Tls::new();
    let mut daemon = tls.site.spawned("daemon", &["--demo"]);
    healthy(&tls.site, "daemon", &mut daemon).await;
    let mut client = tls.session().await;
    demo_answers(&mut client).await;
    history_is_read(&tls).await;
    let before = leaf(&tls.edge().await);
    tls.authority.issue(&[NAME]).save(tls.site.folder(), "web.pem");
    daemon.hang_up();
    eventually("the renewed certificate is shown", async || leaf(&tls.edge().await) != before).await;
    demo_answers(&mut client).await;
    daemon.terminate();
    assert_eq!(daemon.exit_code().await, 0);
}

fn leaf(stream: &TlsStream) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().expect("shown")[0].to_vec()
}

#[tokio::test]
async fn invalid_files_end_the_start() {
    let site = Site::new().with("web.tls_cert_file", "absent.pem");
    let mut daemon = site.spawned("daemon", &[]);
    assert_eq!(daemon.exit_code().await, 1);
    assert!(daemon.log().contains("absent.pem") && daemon.log().contains("(tls_file_unreadable)"), "{}", daemon.log());
}

#[tokio::test]
async fn the_daemon_orders_its_certificate_for_both_listeners() {
    let site = Site::new();
    let place = Place::new(site.edge, 86_400);
    let authority = place.start().await;
    let site = site
        .with("web.tls_acme", "true")
        .with("broker.tls_acme", "true")
        .with("acme.domains", NAME)
        .with("acme.agree_terms", "true")
        .with("acme.directory_url", &format!("https://{}/dir", place.directory))
        .with("acme.ca_file", &place.folder.path().join("own-ca.pem").display().to_string());
    let mut daemon = site.spawned("daemon", &[]);
    healthy(&site, "daemon", &mut daemon).await;
    let client = ClientTls::new(Trust::Authorities(authority.root(place.folder.path()).await)).expect("read");
    let dial = async |addr: SocketAddr| client.connect(NAME, TcpStream::connect(addr).await.expect("listens")).await;
    let (edge, broker) = (dial(site.edge).await.expect("vouched for"), dial(site.broker).await.expect("vouched for"));
    assert_eq!(leaf(&edge), leaf(&broker), "one was ordered");
    assert_eq!(ask(broker, "GET", "/stats").await["tls"]["names"], json!([NAME]));

    // The next start finds it.
    drop(authority);
    daemon.terminate();
    assert_eq!(daemon.exit_code().await, 0);
    let mut daemon = site.spawned("daemon", &[]);
    healthy(&site, "daemon", &mut daemon).await;
    assert_eq!(leaf(&dial(site.edge).await.expect("vouched for")), leaf(&edge));
}
