//! The program that runs the broker alone.

use std::{
    future::ready,
    net::{Ipv4Addr, TcpListener},
    process::{Command, Stdio},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::eventually;

#[actix_web::test]
async fn the_program_serves_until_a_signal_stops_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let addr = free.local_addr().expect("bound");
    drop(free);
    let mut program = Command::new(env!("CARGO_BIN_EXE_websocket-server"))
        .env_clear()
        .current_dir(folder.path())
        .env("WEBSOCKET_SERVER_ADDR", addr.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let pid = program.id().to_string();
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &pid]).status().expect("kill runs");
        assert!(sent.success());
    };
    eventually("the broker is ready", async || is_ready(addr).await).await;
    // SIGHUP makes it read its files again, and does not end it.
    signal("-HUP");
    assert!(is_ready(addr).await);
    signal("-TERM");
    eventually("the program ends", || ready(program.try_wait().expect("a child").is_some())).await;
    assert_eq!(program.wait().expect("a child").code(), Some(0));
}

async fn is_ready(addr: std::net::SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(addr).await else { return false };
    let mut answer = [0; 12];
    let asked = stream.write_all(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    asked.is_ok() && stream.read_exact(&mut answer).await.is_ok() && answer.ends_with(b" 200")
}
