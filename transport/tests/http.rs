//! HTTP on raw sockets: what clients may send, what they get, and what misbehaving clients can
//! cost.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use actix_web::{App, HttpRequest, HttpResponse, dev::ServerHandle, web};
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use tls::{ServerTls, Source, testing};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use transport::{Gate, GateRules, HttpFaults, ServeOptions, long_answer};

const DEADLINE: Duration = Duration::from_secs(20);
/// Bytes of the answer of `/big`.
const BIG: usize = 1 << 20;

struct Server {
    addr: SocketAddr,
    handle: ServerHandle,
    faults: Arc<HttpFaults>,
    /// Requests that reached a handler.
    handled: Arc<AtomicUsize>,
}

impl Server {
    fn start(tls: Option<Arc<ServerTls>>, request_timeout: Duration) -> Self {
        Self::with_places(tls, request_timeout, 1000)
    }

    fn with_places(tls: Option<Arc<ServerTls>>, request_timeout: Duration, max_in_flight: usize) -> Self {
        let listener = transport::listen(([127, 0, 0, 1], 0).into()).expect("binds");
        let addr = listener.local_addr().expect("bound");
        let faults: Arc<HttpFaults> = Arc::default();
        let options = ServeOptions {
            tls,
            gate: Gate::new(GateRules::open()),
            faults: Arc::clone(&faults),
            workers: 1,
            handshake_timeout: request_timeout,
            request_timeout,
            max_in_flight,
            shutdown_timeout: Duration::from_secs(1),
        };
        let handled: Arc<AtomicUsize> = Arc::default();
        let counter = web::Data::from(Arc::clone(&handled));
        let over = web::Data::new(Notify::new());
        let server = transport::serve(listener, &options, move || {
            App::new()
                .app_data(counter.clone())
                .app_data(over.clone())
                .route("/", web::to(|| async { "here" }))
                .route("/big", web::get().to(big))
                .route("/stream", web::get().to(streamed))
                .route("/events", web::get().to(events))
                .route(
                    "/over",
                    web::get().to(|over: web::Data<Notify>| async move {
                        over.notify_waiters();
                        "over"
                    }),
                )
                .route("/flood", web::get().to(flood))
                .route("/length", web::post().to(|body: Bytes| async move { body.len().to_string() }))
                .route("/unread", web::post().to(|| async { "unread" }))
                .route("/where", web::get().to(|request: HttpRequest| async move { format!("{:?}", request.peer_addr()) }))
        })
        .expect("serves");
        let handle = server.handle();
        actix_rt::spawn(server);
        Self { addr, handle, faults, handled }
    }

    /// How often the fault `name` was counted.
    fn faults(&self, name: &str) -> u64 {
        self.faults.counts().find_map(|(known, count)| (known == name).then_some(count)).expect("a known name")
    }

    async fn wait_for_fault(&self, name: &str) {
        let mut ticks = interval(Duration::from_millis(5));
        timeout(DEADLINE, async {
            while self.faults(name) == 0 {
                ticks.tick().await;
            }
        })
        .await
        .expect("counted in time");
    }

    /// Waits until so many long answers run.
    async fn wait_for_running(&self, count: usize) {
        let mut ticks = interval(Duration::from_millis(5));
        timeout(DEADLINE, async {
            while self.handled.load(Relaxed) != count {
                ticks.tick().await;
            }
        })
        .await
        .expect("in time");
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.expect("connects")
    }

    /// A client whose kernel buffers little.
    async fn connect_small(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        socket.connect(self.addr).await.expect("connects")
    }

    /// All answers to these bytes until the server closes.
    async fn tell(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut socket = self.connect().await;
        socket.write_all(bytes.as_ref()).await.expect("sends");
        rest(&mut socket).await
    }
}

async fn rest(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    timeout(DEADLINE, socket.read_to_end(&mut answer)).await.expect("closed in time").expect("closed in order");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn big(counter: web::Data<AtomicUsize>) -> HttpResponse {
    counter.fetch_add(1, Relaxed);
    HttpResponse::Ok().body(Bytes::from(vec![b'x'; BIG]))
}

async fn streamed() -> HttpResponse {
    HttpResponse::Ok().streaming(stream::iter((0..3).map(|number| Ok::<_, io::Error>(Bytes::from(format!("part {number};"))))))
}

/// An answer that lasts until `/over` is requested; `handled` counts those that run.
async fn events(running: web::Data<AtomicUsize>, over: web::Data<Notify>) -> HttpResponse {
    let (writer, answer) = long_answer(HttpResponse::Ok());
    running.fetch_add(1, Relaxed);
    writer.write(b"begun;");
    actix_rt::spawn(async move {
        tokio::select! {
            () = writer.gone() => {}
            () = over.notified() => writer.write(b"over;"),
        }
        running.fetch_sub(1, Relaxed);
    });
    answer
}

/// An answer that continues as long as its client reads.
async fn flood(running: web::Data<AtomicUsize>) -> HttpResponse {
    let (writer, answer) = long_answer(HttpResponse::Ok());
    running.fetch_add(1, Relaxed);
    actix_rt::spawn(async move {
        let mut gone = std::pin::pin!(writer.gone());
        while (&mut gone).now_or_never().is_none() {
            poll_fn(|task| writer.poll_room(task)).await;
            writer.write(&[b'x'; 16 * 1024]);
        }
        running.fetch_sub(1, Relaxed);
    });
    answer
}

fn patient() -> Server {
    Server::start(None, Duration::from_secs(30))
}

#[actix_rt::test]
async fn requests_sent_ahead_are_answered_in_order() {
    let server = patient();
    let ahead: String = (0..500)
        .map(|number| format!("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: {number}\r\n\r\n{:1$}", "", number))
        .collect();
    let answers = server.tell(format!("{ahead}GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    let bodies: Vec<_> =
        answers.split("HTTP/1.1 200 OK").skip(1).map(|answer| answer.rsplit("\r\n").next().expect("a body")).collect();
    let expected: Vec<_> = (0..500).map(|number| number.to_string()).chain(["here".to_owned()]).collect();
    assert_eq!(bodies, expected);
    server.handle.stop(false).await;
}

#[actix_rt::test]
async fn the_forms_of_http_1_are_spoken() {
    let server = patient();
    let peer = |answer: &str| answer.contains("127.0.0.1:");
    let close = "Host: a\r\nConnection: close\r\n";
    let chunks = "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    for (request, status, body) in [
        (format!("GET / HTTP/1.1\r\n{close}\r\n"), "HTTP/1.1 200 OK", "\r\n\r\nhere"),
        (format!("\r\nGET / HTTP/1.1\r\n{close}\r\n"), "HTTP/1.1 200 OK", "\r\n\r\nhere"),
        (format!("HEAD / HTTP/1.1\r\n{close}\r\n"), "HTTP/1.1 200 OK", "\r\n\r\n"),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "HTTP/1.0 200 OK", "\r\n\r\nhere"),
        ("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned(), "HTTP/1.0 200 OK", "\r\n\r\npart 0;part 1;part 2;"),
        (format!("GET /stream HTTP/1.1\r\n{close}\r\n"), "HTTP/1.1 200 OK", "part 2;\r\n0\r\n\r\n"),
        (format!("GET /nothing HTTP/1.1\r\n{close}\r\n"), "HTTP/1.1 404 Not Found", "\r\n\r\n"),
        (format!("POST /length HTTP/1.1\r\n{close}Transfer-Encoding: chunked\r\n\r\n{chunks}"), "HTTP/1.1 200 OK", "\r\n\r\n11"),
        (format!("POST /length HTTP/1.1\r\n{close}Content-Length: 3\r\n\r\nabc"), "HTTP/1.1 200 OK", "\r\n\r\n3"),
        // An unknown protocol is ignored. The bytes behind the answer would be ambiguous, so the
        // connection ends.
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".to_owned(), "HTTP/1.1 200 OK", "here"),
    ] {
        let answer = server.tell(&request).await;
        assert!(answer.starts_with(status) && answer.ends_with(body), "{request:?}: {answer:?}");
    }
    assert!(peer(&server.tell(format!("GET /where HTTP/1.1\r\n{close}\r\n")).await));
    server.handle.stop(false).await;
}

#[actix_rt::test]
async fn a_body_is_asked_for_when_the_handler_wants_it() {
    let server = patient();
    let mut socket = server.connect().await;
    let head = "POST /length HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    socket.write_all(head.as_bytes()).await.expect("sends");
    let mut told = [0; 25];
    timeout(DEADLINE, socket.read_exact(&mut told)).await.expect("in time").expect("told");
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(b"abc").await.expect("sends");
    let answer = rest(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\n\r\n3"), "{answer}");

    let unwanted = head.replace("/length", "/unread").replace("Connection: close\r\n", "");
    let answer = server.tell(unwanted).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("unread"), "{answer}");
    server.handle.stop(false).await;
}

#[actix_rt::test]
async fn a_body_that_nobody_reads_ends_the_connection_after_its_answer() {
    let server = patient();
    let body = "x".repeat(100_000);
    let request =
        format!("POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{body}GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = server.tell(request).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert!(answer.contains("connection: close") && answer.ends_with("unread"), "{answer}");
    server.handle.stop(false).await;
}

#[actix_rt::test]
async fn ambiguous_requests_are_refused_with_a_code_and_counted() {
    let server = patient();
    for (request, status, code, fault) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_owned(), 400, "bad_request", "ambiguous"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx".to_owned(),
            400,
            "bad_request",
            "ambiguous",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n".to_owned(),
            400,
            "bad_request",
            "ambiguous",
        ),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "bad_request", "malformed"),
        ("nonsense\r\n\r\n".to_owned(), 400, "bad_request", "malformed"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n".to_owned(), 400, "bad_request", "malformed"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            400,
            "bad_request",
            "malformed",
        ),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000)), 431, "head_too_long", "head_too_long"),
    ] {
        let before = server.faults(fault);
        let answer = server.tell(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
        assert!(answer.contains(&format!(r#"{{"error":{{"code":"{code}""#)), "{request:?}: {answer}");
        assert_eq!(server.faults(fault), before + 1, "{request:?}");
    }
    server.handle.stop(false).await;
}

/// Sends requests ahead until no more are taken, and reads nothing.
async fn send_without_reading(socket: &mut (impl tokio::io::AsyncWrite + Unpin)) {
    let ahead = "GET /big HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10_000);
    // Cut off or stuck: either ends the loop.
    let _ = timeout(Duration::from_millis(500), socket.write_all(ahead.as_bytes())).await;
}

#[actix_rt::test]
async fn a_client_that_pipelines_and_reads_nothing_has_one_answer_in_flight_and_is_cut() {
    let server = Server::start(None, Duration::from_secs(1));
    let mut socket = server.connect_small().await;
    send_without_reading(&mut socket).await;
    server.wait_for_fault("not_read").await;
    let handled = server.handled.load(Relaxed);
    assert!((1..=2).contains(&handled), "{handled} requests were answered");
    let mut got = Vec::new();
    let end = timeout(DEADLINE, socket.read_to_end(&mut got)).await.expect("cut");
    assert!(got.len() < BIG, "{} bytes, {end:?}", got.len());
    server.handle.stop(false).await;
}

#[actix_rt::test]
async fn the_same_holds_under_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = testing::TestAuthority::new("test");
    let cert_file = authority.issue(&["bridge.example"]).save(folder.path(), "cert.pem");
    let source = Source { key_file: cert_file.clone(), cert_file, challenges: None, client_ca_file: None };
    let server = Server::start(Some(ServerTls::open(source).expect("reads")), Duration::from_secs(1));
    let name = "bridge.example".to_owned().try_into().expect("a name");
    let socket = server.connect_small().await;
    let mut stream = testing::connector(&authority, None).connect(name, socket).await.expect("a handshake");
    send_without_reading(&mut stream).await;
    server.wait_for_fault("not_read").await;
    let handled = server.handled.load(Relaxed);
    assert!((1..=2).contains(&handled), "{handled} requests were answered");
    server.handle.stop(false).await;
}

#[actix_rt::test]
async fn a_body_that_comes_a_byte_at_a_time_is_cut() {
    let server = Server::start(None, Duration::from_millis(500));
    for framing in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let started = Instant::now();
        let (mut read, mut write) = server.connect().await.into_split();
        let mut pace = interval(Duration::from_millis(10));
        let trickle = async {
            write.write_all(format!("POST /length HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes()).await?;
            for byte in "1\r\nx\r\n".bytes().cycle() {
                pace.tick().await;
                write.write_all(&[byte]).await?;
            }
            Ok::<_, io::Error>(())
        };
        let mut answer = vec![0; 12];
        tokio::select! {
            read = timeout(DEADLINE, read.read_exact(&mut answer)) => { read.expect("in time").expect("an answer"); }
            end = trickle => panic!("cut without a word: {end:?}"),
        }
        assert_eq!(answer, b"HTTP/1.1 408", "{framing}");
        assert!(started.elapsed() >= Duration::from_millis(500));
    }
    assert_eq!(server.faults("too_slow"), 2);
    server.handle.stop(false).await;
}

#[actix_rt::test]
async fn a_steady_reader_gets_a_large_answer_however_long_it_takes() {
    let server = Server::start(None, Duration::from_secs(1));
    let mut socket = server.connect_small().await;
    let started = Instant::now();
    socket.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("sends");
    let mut pace = interval(Duration::from_millis(20));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut got, mut some) = (0, vec![0; 8 * 1024]);
    loop {
        pace.tick().await;
        match timeout(DEADLINE, socket.read(&mut some)).await.expect("goes on").expect("is not cut") {
            0 => break,
            read => got += read,
        }
    }
    assert!(got > BIG && started.elapsed() > Duration::from_secs(1), "{got} bytes in {:?}", started.elapsed());
    server.handle.stop(false).await;
}

#[actix_web::test]
async fn long_answers_hold_no_place_and_end_with_their_client_or_by_themselves() {
    let server = Server::with_places(None, DEADLINE, 1);
    let mut clients = Vec::new();
    for count in 1..=3 {
        let mut client = server.connect().await;
        client.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sends");
        let mut answer = Vec::new();
        while !String::from_utf8_lossy(&answer).contains("begun;") {
            let read = timeout(DEADLINE, client.read_buf(&mut answer)).await.expect("in time").expect("open");
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        }
        assert!(String::from_utf8_lossy(&answer).to_ascii_lowercase().contains("connection: close"));
        server.wait_for_running(count).await;
        clients.push(client);
    }
    clients.pop();
    server.wait_for_running(2).await;
    assert!(server.tell("GET /over HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    for mut client in clients {
        assert!(rest(&mut client).await.ends_with("over;\r\n0\r\n\r\n"));
    }
    server.wait_for_running(0).await;
}

#[actix_web::test]
async fn a_client_that_reads_nothing_of_a_long_answer_is_cut() {
    let server = Server::start(None, Duration::from_millis(200));
    let mut client = server.connect_small().await;
    client.write_all(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sends");
    server.wait_for_running(1).await;
    server.wait_for_fault("not_read").await;
    server.wait_for_running(0).await;
}
