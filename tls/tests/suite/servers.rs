//! The listener's side: what it starts with, what it takes up while it runs, whom it turns away.

use std::{fs, path::Path, time::SystemTime};

use tls::{
    HandshakeError, ServerTls, Source,
    testing::{TestAuthority, connect, connector},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Listener, eventually, from_file, in_time, with_clients_of};

const NAME: &str = "bridge.example";

/// A ClientHello of TLS 1.1 that offers what servers of its time took: hand-made, for no client of
/// today sends it.
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut body = vec![0x03, 0x02];
    body.extend([7; 32]);
    body.push(0);
    let suites: [u16; 5] = [0xC014, 0xC013, 0x0035, 0x002F, 0x000A];
    body.extend(u16::try_from(suites.len() * 2).unwrap().to_be_bytes());
    body.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
    body.extend([1, 0]);
    // Groups, point formats, and signatures, so that it is the version that is refused.
    let extensions = [0, 0x0A, 0, 4, 0, 2, 0, 0x17, 0, 0x0B, 0, 2, 1, 0, 0, 0x0D, 0, 4, 0, 2, 4, 3];
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let length = u16::try_from(body.len()).unwrap();
    let mut record = vec![0x16, 0x03, 0x01];
    record.extend((length + 4).to_be_bytes());
    record.extend([0x01, 0]);
    record.extend(length.to_be_bytes());
    record.extend(body);
    record
}

async fn echoes(stream: &mut tls::TlsStream, text: &[u8]) {
    stream.write_all(text).await.expect("written");
    stream.flush().await.expect("flushed");
    let mut back = vec![0; text.len()];
    in_time("an echo", stream.read_exact(&mut back)).await.expect("read");
    assert_eq!(back, text);
}

fn leaf(stream: &tls::TlsStream) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().expect("shown")[0].to_vec()
}

#[tokio::test]
async fn a_changed_certificate_is_for_new_handshakes_and_open_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new("one");
    let path = authority.issue(&[NAME]).save(dir.path(), "cert.pem");
    let listener = Listener::start(from_file(&path)).await;
    let keeping = tokio::spawn(std::sync::Arc::clone(&listener.server).keep());
    let connector = connector(&authority, None);
    let mut before = connect(&connector, listener.addr, NAME).await.expect("trusted");
    echoes(&mut before, b"before").await;

    authority.issue(&[NAME, "second.example"]).save(dir.path(), "cert.pem");
    eventually("the new certificate is in force", || listener.server.facts().unwrap().names.len() == 2).await;
    let mut after = connect(&connector, listener.addr, "second.example").await.expect("trusted");
    echoes(&mut after, b"after").await;
    echoes(&mut before, b"still").await;
    assert_ne!(leaf(&before), leaf(&after));
    assert_eq!((listener.server.status().reloads, listener.server.status().handshakes), (1, 2));
    keeping.abort();
}

#[tokio::test]
async fn a_bad_new_file_changes_nothing_and_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new("one");
    let path = authority.issue(&[NAME]).save(dir.path(), "cert.pem");
    let listener = Listener::start(from_file(&path)).await;
    assert_eq!(listener.server.fault(), None);
    fs::write(&path, "rubbish").unwrap();
    listener.server.reload_if_changed();
    assert!(
        listener.server.fault().is_some_and(|fault| fault.code == "tls_certificate_invalid"),
        "{:?}",
        listener.server.fault()
    );
    connect(&connector(&authority, None), listener.addr, NAME).await.expect("the one before is in force");
    authority.issue(&[NAME]).save(dir.path(), "cert.pem");
    listener.server.reload_if_changed();
    assert_eq!(listener.server.fault(), None);
}

#[test]
fn faults_of_files_have_a_code() {
    let dir = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new("one");
    let (one, other) = (authority.issue(&[NAME]), authority.issue(&[NAME]));
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let (cert, key) = (file("cert.pem", &one.cert), file("key.pem", &one.key));
    let code = |cert: &Path, key: &Path, clients: Option<&Path>| {
        let source = Source {
            cert_file: cert.to_owned(),
            key_file: key.to_owned(),
            challenges: None,
            client_ca_file: clients.map(Path::to_owned),
        };
        let error = ServerTls::open(source).expect_err("no good");
        assert!(error.to_string().ends_with(&format!("({})", error.code())), "{error}");
        assert!(!error.to_string().contains("BEGIN"), "{error}");
        error.code()
    };
    assert_eq!(code(&dir.path().join("none"), &key, None), "tls_file_unreadable");
    assert_eq!(code(&cert, &dir.path().join("none"), None), "tls_file_unreadable");
    assert_eq!(code(&key, &key, None), "tls_certificate_invalid");
    assert_eq!(code(&file("empty", ""), &key, None), "tls_certificate_invalid");
    let rubbish = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(code(&file("rubbish", rubbish), &key, None), "tls_certificate_invalid");
    assert_eq!(code(&cert, &cert, None), "tls_key_invalid");
    let locked = one.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert_eq!(code(&cert, &file("locked", &locked), None), "tls_key_invalid");
    let short = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_eq!(code(&cert, &file("short", short), None), "tls_key_invalid");
    assert_eq!(code(&cert, &file("other", &other.key), None), "tls_key_mismatch");
    assert_eq!(code(&cert, &key, Some(&file("nobody", ""))), "tls_certificate_invalid");
    assert_eq!(code(&cert, &key, Some(&file("half", rubbish))), "tls_roots_invalid");
}

#[tokio::test]
async fn an_expired_certificate_is_served_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let hour = std::time::Duration::from_secs(3600);
    let now = SystemTime::now();
    let path = TestAuthority::new("one").issue_for(&[NAME], now - 2 * hour, now - hour).save(dir.path(), "cert.pem");
    let server = ServerTls::open(from_file(&path)).expect("read");
    assert!(server.fault().unwrap().message.starts_with("the certificate expired at 20"));
}

#[tokio::test]
async fn an_unfinished_handshake_is_ended_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = TestAuthority::new("one").issue(&[NAME]).save(dir.path(), "cert.pem");
    let mut listener = Listener::start(from_file(&path)).await;
    // Nothing at all; and the beginning of a handshake, then nothing.
    for beginning in [&[][..], &[0x16, 0x03, 0x01, 0x01, 0x00]] {
        let mut socket = TcpStream::connect(listener.addr).await.unwrap();
        socket.write_all(beginning).await.unwrap();
        assert!(matches!(listener.failure().await, HandshakeError::TimedOut));
        assert_eq!(in_time("the end", socket.read(&mut [0; 64])).await.unwrap_or(0), 0);
    }
    // A byte at a time, each well within the time for the whole.
    let mut socket = TcpStream::connect(listener.addr).await.unwrap();
    let trickling = tokio::spawn(async move {
        for byte in hello_of_tls_1_1() {
            if socket.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    assert!(matches!(listener.failure().await, HandshakeError::TimedOut));
    trickling.abort();
    assert_eq!(listener.server.status().timed_out, 3);
}

#[tokio::test]
async fn other_protocols_on_a_tls_port_are_recognized() {
    let dir = tempfile::tempdir().unwrap();
    let path = TestAuthority::new("one").issue(&[NAME]).save(dir.path(), "cert.pem");
    let mut listener = Listener::start(from_file(&path)).await;
    let mut socket = TcpStream::connect(listener.addr).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert!(matches!(listener.failure().await, HandshakeError::NotTls(_)));
    drop(TcpStream::connect(listener.addr).await.unwrap());
    assert!(matches!(listener.failure().await, HandshakeError::Left));
    assert_eq!((listener.server.status().not_tls, listener.server.status().failed), (1, 0));
}

#[tokio::test]
async fn tls_1_1_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = TestAuthority::new("one").issue(&[NAME]).save(dir.path(), "cert.pem");
    let mut listener = Listener::start(from_file(&path)).await;
    let mut socket = TcpStream::connect(listener.addr).await.unwrap();
    socket.write_all(&hello_of_tls_1_1()).await.unwrap();
    let mut answer = [0; 7];
    in_time("an alert", socket.read_exact(&mut answer)).await.unwrap();
    // A fatal alert, protocol_version.
    assert_eq!((answer[0], &answer[5..]), (21, &[2, 70][..]));
    let HandshakeError::Failed(_) = listener.failure().await else { panic!("not refused") };
}

#[tokio::test]
async fn certificates_of_clients_are_checked_where_they_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (servers, agents, others) = (TestAuthority::new("s"), TestAuthority::new("a"), TestAuthority::new("o"));
    let path = servers.issue(&[NAME]).save(dir.path(), "cert.pem");
    let ca = agents.save(dir.path(), "agents.pem");
    let mut listener = Listener::start(with_clients_of(&path, ca)).await;

    let mut nobody = connect(&connector(&servers, None), listener.addr, NAME).await.expect("none needed");
    echoes(&mut nobody, b"none").await;
    let mut agent = connect(&connector(&servers, Some(&agents.issue(&["planner"]))), listener.addr, NAME).await.expect("shown");
    echoes(&mut agent, b"right").await;

    let wrong = connector(&servers, Some(&others.issue(&["planner"])));
    // The client has done its part of the handshake before it hears the server's judgement.
    if let Ok(mut stream) = connect(&wrong, listener.addr, NAME).await {
        assert!(in_time("the end", stream.read_exact(&mut [0])).await.is_err());
    }
    let HandshakeError::Failed(error) = listener.failure().await else { panic!("let in") };
    assert!(error.to_string().contains("certificate"), "{error}");

    // The authority changes: what was good is good no longer, for new handshakes.
    others.save(dir.path(), "agents.pem");
    listener.server.reload_if_changed();
    let mut other = connect(&wrong, listener.addr, NAME).await.expect("shown");
    echoes(&mut other, b"now right").await;
    echoes(&mut agent, b"still open").await;
}
