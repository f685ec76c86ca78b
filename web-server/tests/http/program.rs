//! The program that runs the edge alone.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
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
    let mut program = Command::new(env!("CARGO_BIN_EXE_web-server"))
        .env_clear()
        .current_dir(folder.path())
        .env("WEB_SERVER_ADDR", addr.to_string())
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
    eventually("the edge is up", async || is_live(addr).await.then_some(())).await;
    // SIGHUP makes it read its files again, and does not end it.
    signal("-HUP");
    assert!(is_live(addr).await);
    signal("-INT");
    eventually("the program ends", async || program.try_wait().expect("a child")).await;
    assert_eq!(program.wait().expect("a child").code(), Some(0));
}

async fn is_live(addr: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(addr).await else { return false };
    let mut answer = [0; 12];
    let asked = stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    asked.is_ok() && stream.read_exact(&mut answer).await.is_ok() && answer.ends_with(b" 200")
}
