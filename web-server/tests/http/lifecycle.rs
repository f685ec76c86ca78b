//! Sessions that end, tokens that expire, servers that drain.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    broker::Broker,
    harness::{Edge, in_time},
    proxy::pair,
};

#[actix_web::test]
async fn two_edges_do_not_share_a_data_folder() {
    let edge = Edge::start();
    let refused = web_server::start(&edge.settings).err().expect("refused").to_string();
    let holder = format!("process {}", std::process::id());
    for part in ["edge.lock", holder.as_str(), "DATA_DIR"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let Edge { handle, settings, data } = edge;
    handle.drain().await;
    drop(handle);
    web_server::start(&settings).expect("its lock goes with it");
    drop(data);
}

#[actix_web::test]
async fn ending_a_session_closes_its_sockets_and_no_others() {
    let (mut broker, edge, browser, link) = pair().await;
    let mut other = edge.browser().await;
    let mut other_link = broker.link().await;
    let bearer = format!("Bearer {}", browser.token);
    assert_eq!(edge.request("DELETE", "/api/client/session", &[("Authorization", &bearer)]).await.status, 204);
    assert_eq!(browser.closed().await.0, 4003);
    assert_eq!(link.closed().await, 4003);
    other.say("still here").await;
    assert_eq!(other_link.text().await, "still here");
    let refused = edge.refused_upgrade("/ws", &[("Authorization", &bearer)]).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (401, "session_ended"));
}

#[actix_web::test]
async fn a_socket_is_closed_before_its_token_runs_out() {
    let mut broker = Broker::start().await;
    let edge = Edge::with(|settings| {
        settings.web.broker_url = Some(broker.url());
        settings.web.session_ttl = Duration::from_secs(2);
    });
    let browser = edge.browser().await;
    let link = broker.link().await;
    assert_eq!(browser.closed().await.0, 4001);
    assert_eq!(link.closed().await, 4001);
}

#[actix_web::test]
async fn a_draining_edge_says_so_closes_everything_and_ends() {
    let (mut broker, edge, mut browser, link) = pair().await;
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push((edge.browser().await, broker.link().await));
    }
    let (_, token) = edge.session().await;
    let told = async {
        let draining = browser.envelope().await;
        assert_eq!((&draining["type"], &draining["source"]), (&"system:draining".into(), &"edge".into()));
        assert!(draining["payload"]["close_within_ms"].is_u64());
        let ready = edge.get("/health/ready").await;
        assert_eq!((ready.status, ready.json()["status"].as_str()), (503, Some("draining")));
        let refused = edge.refused_upgrade("/ws", &[("Authorization", &format!("Bearer {token}"))]).await;
        assert_eq!((refused.status, refused.error_code().as_str()), (503, "not_ready"));
        assert_eq!(browser.closed().await.0, 1012);
        assert_eq!(link.closed().await, 1012);
        for (browser, link) in others {
            assert_eq!((browser.closed().await.0, link.closed().await), (1012, 1012));
        }
    };
    let ((), ()) = in_time("the drain", async { tokio::join!(edge.handle.drain(), told) }).await;
    assert!(TcpStream::connect(edge.host()).await.is_err(), "nobody listens any more");
}

#[actix_web::test]
async fn an_idle_http_connection_does_not_hold_the_drain_up() {
    let edge = Edge::with(|settings| settings.drain.timeout = Duration::from_secs(10));
    let mut idle = TcpStream::connect(edge.host()).await.expect("connects");
    let request = format!("GET /health/live HTTP/1.1\r\nHost: {}\r\n\r\n", edge.host());
    idle.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.expect("reads");
    assert_eq!(&answer, b"HTTP/1.1 200");
    let started = Instant::now();
    in_time("the drain", edge.handle.drain()).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[actix_web::test]
async fn an_answer_that_is_being_sent_is_finished_before_the_end() {
    let dir = tempfile::tempdir().expect("temp dir");
    let size = 30_000_000;
    std::fs::write(dir.path().join("big.bin"), vec![7; size]).expect("writes");
    let edge = Edge::with(|settings| {
        settings.web.static_path = Some(dir.path().to_owned());
        settings.drain.timeout = Duration::from_secs(10);
    });
    let mut reader = TcpStream::connect(edge.host()).await.expect("connects");
    let request = format!("GET /big.bin HTTP/1.1\r\nHost: {}\r\n\r\n", edge.host());
    reader.write_all(request.as_bytes()).await.expect("writes");
    let mut begin = [0; 12];
    reader.read_exact(&mut begin).await.expect("reads");
    let rest = async {
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).await.expect("reads");
        rest.len()
    };
    let (read, ()) = in_time("the drain", async { tokio::join!(rest, edge.handle.drain()) }).await;
    assert!(read > size, "only {read} bytes came");
}
