//! The edge under TLS: what browsers are told only there.

use std::time::Duration;

use tempfile::TempDir;
use tls::testing::{TestAuthority, connect, connector};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Edge, in_time};

const NAME: &str = "bridge.example";

struct Site {
    edge: Edge,
    authority: TestAuthority,
    _folder: TempDir,
}

impl Site {
    fn with_hsts(hsts: Duration) -> Self {
        let (authority, folder) = (TestAuthority::new("servers"), tempfile::tempdir().expect("a folder"));
        let cert_file = authority.issue(&[NAME, "localhost"]).save(folder.path(), "cert.pem");
        let edge = Edge::with(|settings| {
            settings.web.tls.cert_file = Some(cert_file);
            settings.web.hsts = hsts;
            settings.web.hosts = vec![NAME.to_owned()];
        });
        Self { edge, authority, _folder: folder }
    }

    /// The head of the answer.
    async fn head(&self, method: &str, path: &str, host: &str) -> String {
        self.head_with(method, path, host, "").await
    }

    /// The same with additional header lines.
    async fn head_with(&self, method: &str, path: &str, host: &str, headers: &str) -> String {
        let client = connector(&self.authority, None);
        let mut stream = connect(&client, self.edge.handle.addr(), NAME).await.expect("a handshake");
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = Vec::new();
        in_time("an answer", stream.read_to_end(&mut answer)).await.expect("ends in order");
        let text = String::from_utf8_lossy(&answer).into_owned();
        text.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase()
    }
}

#[actix_rt::test]
async fn browsers_are_told_to_use_https_and_cookies_are_secure() {
    let site = Site::with_hsts(Duration::from_secs(86_400));
    for path in ["/", "/api/", "/nowhere.js"] {
        let head = site.head("GET", path, NAME).await;
        assert!(head.contains("\r\nstrict-transport-security: max-age=86400"), "{head}");
    }
    let head = site.head("POST", "/api/client", &format!("{NAME}:8443")).await;
    assert!(head.contains("strict-transport-security") && head.contains("set-cookie: __host-agent_bridge_session="), "{head}");
    assert!(head.contains("; secure"), "{head}");
}

#[actix_rt::test]
async fn a_page_of_the_same_name_without_tls_is_another_site() {
    let site = Site::with_hsts(Duration::ZERO);
    let status = async |host: &str, origin: &str| {
        let head = site.head_with("POST", "/api/client", host, &format!("Origin: {origin}\r\n")).await;
        head.split(' ').nth(1).map(str::to_owned)
    };
    for (host, origin, expected) in [
        (NAME, "http://bridge.example", "403"),
        (NAME, "http://bridge.example:443", "403"),
        ("bridge.example:8443", "http://bridge.example:8443", "403"),
        (NAME, "https://bridge.example", "201"),
        ("bridge.example:8443", "https://bridge.example:8443", "201"),
    ] {
        assert_eq!(status(host, origin).await.as_deref(), Some(expected), "{host} {origin}");
    }
}

#[actix_rt::test]
async fn hsts_is_not_sent_for_localhost_or_when_disabled() {
    let site = Site::with_hsts(Duration::from_secs(86_400));
    for host in ["localhost", "localhost:8081", "app.localhost:8081"] {
        assert!(!site.head("GET", "/", host).await.contains("strict-transport-security"), "{host}");
    }
    assert!(!Site::with_hsts(Duration::ZERO).head("GET", "/", NAME).await.contains("strict-transport-security"));
}

#[actix_rt::test]
async fn without_tls_no_hsts_header_and_no_secure_cookie_are_sent() {
    let edge = Edge::start();
    let answer = edge.request("POST", "/api/client", &[]).await;
    assert!(answer.header("strict-transport-security").is_none());
    assert!(!answer.cookie().expect("set").1.contains("Secure"));
}

#[actix_rt::test]
async fn a_request_without_tls_is_told_to_use_tls() {
    let site = Site::with_hsts(Duration::ZERO);
    let answer = site.edge.get("/").await;
    assert_eq!((answer.status, answer.error_code()), (400, "tls_required".to_owned()));
}
