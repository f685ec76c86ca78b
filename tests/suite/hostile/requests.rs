//! Crafted requests: each is refused, and none reveals more than another.

use std::{fs, net::SocketAddr};

use uuid::Uuid;

use super::wire::{exchange, first_answer, handshake, status};
use crate::harness::{AGENT_KEY, Site, request};

/// A request with further header lines and a body.
fn plain(method: &str, path: &str, host: SocketAddr, headers: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n{body}")
}

#[tokio::test]
async fn paths_do_not_lead_out_of_the_app() {
    let site = Site::new();
    let _daemon = site.daemon().await;
    let secrets = fs::read_to_string(site.folder().join("data/secrets.json")).expect("the daemon made it");
    let secret = secrets.split('"').find(|word| word.len() >= 32).expect("a secret").to_owned();
    for path in [
        "/../data/secrets.json",
        "/../../../../../../etc/passwd",
        "/assets/../../data/secrets.json",
        "/assets/../../../../../../../etc/passwd",
        "/%2e%2e/data/secrets.json",
        "/assets/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/assets/..%5c..%5cetc%5cpasswd",
        "/assets/%252e%252e%252f%252e%252e%252fetc/passwd",
        "/assets/.%00./etc/passwd",
        "/assets//etc/passwd",
        "//etc/passwd",
        "/assets/\u{2025}/etc/passwd",
        "/.env",
        "/.git/config",
        "/Cargo.toml",
        "/data/agent-keys.json",
    ] {
        for listener in [site.edge, site.broker] {
            let answer = exchange(listener, plain("GET", path, listener, "Accept: */*\r\n", "").as_bytes()).await;
            assert!(!answer.contains(&secret) && !answer.contains("root:"), "{path}: {answer}");
            // What looks like a page of the app is answered with the app.
            let is_app = status(&answer) == 200 && answer.contains("<!doctype html>");
            assert!(is_app || [400, 404].contains(&status(&answer)), "{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn headers_cannot_be_injected_or_smuggled() {
    let site = Site::new();
    let _daemon = site.daemon().await;
    let session = site.register().await;
    let credentials = format!("Authorization: Bearer {}\r\n", session.token);

    // What is echoed comes back escaped, or not at all.
    for value in ["a%0d%0aX-Injected:%20yes", "a%0aX-Injected:%20yes", "a%00b", "%E5%98%8D%E5%98%8AX-Injected:yes", "a\"b"] {
        let answer = exchange(site.edge, handshake(&format!("/ws?agent={value}"), site.edge, &credentials).as_bytes()).await;
        assert!(status(&answer) == 400 && !answer.to_ascii_lowercase().contains("\r\nx-injected"), "{value}: {answer}");
        let key = format!("Authorization: Bearer {AGENT_KEY}\r\n");
        let answer = exchange(site.broker, handshake(&format!("/ws/agent?agent_id={value}"), site.broker, &key).as_bytes()).await;
        assert!(status(&answer) == 400 && !answer.to_ascii_lowercase().contains("\r\nx-injected"), "{value}: {answer}");
    }
    let answer = exchange(
        site.edge,
        plain("POST", "/api/client", site.edge, "Content-Length: 0\r\nOrigin: https://a\r\n X-Injected: yes\r\n", "").as_bytes(),
    )
    .await;
    assert!(status(&answer) != 201, "a folded header: {answer}");

    // If the end of a request could be read in two ways, one request could hide behind another.
    let hidden = "GET /api/ HTTP/1.1\r\nHost: x\r\n\r\n";
    for headers in [
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Content-Length: +0\r\n",
        "Content-Length: -1\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length : 0\r\n",
        "X: a\nContent-Length: 0\r\n Content-Length: 60\r\n",
        "Host: another\r\n",
    ] {
        for listener in [site.edge, site.broker] {
            let body = format!("0\r\n\r\n{hidden}");
            let request = format!("POST /api/client HTTP/1.1\r\nHost: {listener}\r\n{headers}\r\n{body}");
            let answer = exchange(listener, request.as_bytes()).await;
            assert!([0, 400].contains(&status(&answer)), "{headers:?}: {answer}");
            assert!(!answer.contains("\"name\":\"agent-bridge\""), "the hidden one was answered: {headers:?}: {answer}");
        }
    }
    let long = format!("X-Long: {}\r\n", "x".repeat(300_000));
    for listener in [site.edge, site.broker] {
        let answer = exchange(listener, plain("GET", "/health/live", listener, &long, "").as_bytes()).await;
        assert!([0, 400, 431].contains(&status(&answer)), "{}", status(&answer));
    }
}

#[tokio::test]
async fn pages_of_other_sites_open_no_sockets() {
    let site = Site::new();
    let _daemon = site.daemon().await;
    let session = site.register().await;
    let cookie = format!("Cookie: agent_bridge_session={}\r\n", session.token);
    for origin in ["https://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1.evil.example"] {
        let answer = exchange(site.edge, handshake("/ws", site.edge, &format!("{cookie}Origin: {origin}\r\n")).as_bytes()).await;
        assert!(status(&answer) == 403 && answer.contains("origin_not_allowed"), "{origin}: {answer}");
        let key = format!("Authorization: Bearer {AGENT_KEY}\r\nOrigin: {origin}\r\n");
        let answer = exchange(site.broker, handshake("/ws/agent", site.broker, &key).as_bytes()).await;
        assert!(status(&answer) == 403 && answer.contains("origin_not_allowed"), "{origin}: {answer}");
    }
    // Under a name of the attacker that resolves here (DNS rebinding) nothing is answered.
    let rebound = handshake("/ws", site.edge, "Origin: http://rebound.example\r\n")
        .replace(&format!("Host: {}", site.edge), "Host: rebound.example");
    let answer = exchange(site.edge, rebound.as_bytes()).await;
    assert!(status(&answer) == 421 && answer.contains("host_not_allowed"), "{answer}");
}

#[tokio::test]
async fn nobody_chooses_the_id_of_a_session() {
    let site = Site::new();
    let _daemon = site.daemon().await;
    let chosen = Uuid::new_v4().to_string();
    let body = format!("{{\"client_id\":\"{chosen}\"}}");
    let json = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    for headers in [
        format!("{json}Cookie: agent_bridge_session={chosen}\r\n"),
        format!("{json}Cookie: agent_bridge_session=eyJhbGciOiJub25lIn0.e30.\r\n"),
        format!("{json}X-Client-Id: {chosen}\r\nX-Session-Id: {chosen}\r\n"),
    ] {
        for path in ["/api/client".to_owned(), format!("/api/client?client_id={chosen}")] {
            let answer = exchange(site.edge, plain("POST", &path, site.edge, &headers, &body).as_bytes()).await;
            assert!(status(&answer) == 201 && !answer.contains(&chosen), "{headers:?}: {answer}");
        }
    }
    for path in [format!("/ws/{chosen}"), format!("/ws/{chosen}?token=x")] {
        assert_eq!(status(&exchange(site.edge, handshake(&path, site.edge, "").as_bytes()).await), 401);
    }
    // It cannot plant the attacker's session in a browser either: a page of another site sets no
    // cookie.
    let foreign = "Content-Length: 0\r\nOrigin: https://evil.example\r\n";
    let answer = exchange(site.edge, plain("POST", "/api/client", site.edge, foreign, "").as_bytes()).await;
    assert!(status(&answer) == 403 && !answer.to_ascii_lowercase().contains("set-cookie"), "{answer}");
}

#[tokio::test]
async fn guessed_ids_tell_nothing() {
    let site = Site::new();
    let _daemon = site.daemon().await;
    let mine = site.register().await;
    let theirs = site.register().await;
    let _open = site.dial_session(&theirs, "").await.expect("upgraded");
    let guesses = [theirs.id.clone(), Uuid::new_v4().to_string(), Uuid::nil().to_string()];
    let mut answers = Vec::new();
    for guess in &guesses {
        let described = request(site.edge, "GET", &format!("/api/client/{guess}"), Some(&mine.token)).await.expect("an answer");
        assert_eq!(described.status, 403);
        let bearer = format!("Authorization: Bearer {}\r\n", mine.token);
        let opened = exchange(site.edge, handshake(&format!("/ws/{guess}"), site.edge, &bearer).as_bytes()).await;
        assert_eq!(status(&opened), 403);
        let at_broker = exchange(site.broker, handshake(&format!("/ws/client/{guess}"), site.broker, &bearer).as_bytes()).await;
        assert_eq!(status(&at_broker), 401);
        let bodies = [&opened, &at_broker].map(|answer| answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned());
        answers.push((described.json.to_string(), bodies));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "a guess that is right looks different: {answers:?}");
}

#[tokio::test]
async fn only_whole_handshakes_are_upgraded_at_every_listener() {
    let site = Site::new();
    let _daemon = site.daemon().await;
    let session = site.register().await;
    let token = format!("Authorization: Bearer {}\r\n", session.token);
    let key = format!("Authorization: Bearer {AGENT_KEY}\r\n");
    for (listener, path, credentials) in [(site.edge, "/ws", token), (site.broker, "/ws/agent", key)] {
        let whole = handshake(path, listener, &credentials);
        for (from, to, expected, says) in [
            ("Upgrade: websocket", "Upgrade: h2c, WebSocket", 101, "upgrade: websocket"),
            ("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket", 101, "upgrade: websocket"),
            ("Connection: Upgrade", "Connection: keep-alive\r\nConnection: upgrade", 101, "upgrade: websocket"),
            (
                "Connection: Upgrade",
                "Connection: Upgrade\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: agent-bridge.v1",
                101,
                "sec-websocket-protocol: agent-bridge.v1",
            ),
            ("Upgrade: websocket", "Upgrade: websockets", 426, "sec-websocket-version: 13"),
            ("Upgrade: websocket", "Upgrade: not websocket", 426, "upgrade: websocket"),
            ("Connection: Upgrade", "Connection: keep-alive", 426, "connection: close, upgrade"),
            ("Version: 13", "Version: 12", 426, "sec-websocket-version: 13"),
            (" HTTP/1.1", " HTTP/1.0", 426, "upgrade_required"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhl", 400, "sec-websocket-key"),
            ("Connection: Upgrade", "Connection: Upgrade\r\nContent-Length: 6", 400, "no body"),
            ("Connection: Upgrade", "Connection: Upgrade\r\nTransfer-Encoding: chunked", 400, "no body"),
            ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 8", 400, "more than one sec-websocket-version"),
            ("Upgrade: websocket", "Upgrade: websocket\r\nOrigin: http://a\r\nOrigin: http://b", 400, "more than one origin"),
            ("Upgrade: websocket", "Upgrade: websocket\r\nHost: other", 400, "more than one host"),
            ("Upgrade: websocket", "Upgrade: websocket\r\nAuthorization: Bearer b", 400, "more than one authorization"),
        ] {
            let changed = whole.replace(from, to);
            assert_ne!(changed, whole);
            let answer = match expected {
                101 => first_answer(listener, changed.as_bytes()).await,
                _ => exchange(listener, changed.as_bytes()).await.replace("HTTP/1.0", "HTTP/1.1"),
            };
            assert_eq!(status(&answer), expected, "{to:?} at {path}: {answer}");
            assert!(answer.to_ascii_lowercase().contains(says), "{to:?} at {path}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_request_that_shows_two_sessions_is_refused() {
    let site = Site::new();
    let _daemon = site.daemon().await;
    let (one, other) = (site.register().await, site.register().await);
    let name = "agent_bridge_session";
    let shown = |first: &str, between: &str, second: &str| format!("Cookie: {name}={first}{between}{name}={second}\r\n");
    for between in ["; ", "; a=b;", "\r\nCookie: "] {
        let cookies = shown(&one.token, between, &other.token);
        for request in
            [handshake("/ws", site.edge, &cookies), plain("GET", &format!("/api/client/{}", one.id), site.edge, &cookies, "")]
        {
            let answer = exchange(site.edge, request.as_bytes()).await;
            assert!(status(&answer) == 400 && answer.contains("more than one cookie"), "{request}: {answer}");
        }
    }
    // Other cookies, and parts of values, are not a session.
    let cookies = format!("Cookie: a=b; a=b; x{name}=1; {name}={}; v={name}=2\r\n", one.token);
    let answer = exchange(site.edge, plain("GET", &format!("/api/client/{}", one.id), site.edge, &cookies, "").as_bytes()).await;
    assert_eq!(status(&answer), 200, "{answer}");
}

#[tokio::test]
async fn errors_in_a_query_name_the_parameter_and_the_character() {
    let site = Site::new();
    let _daemon = site.daemon().await;
    let session = site.register().await;
    let token = format!("Authorization: Bearer {}\r\n", session.token);
    let key = format!("Authorization: Bearer {AGENT_KEY}\r\n");
    for (listener, path, credentials, parameter, says) in [
        (site.edge, "/ws?agent=a+b", &token, "agent", "' '"),
        (site.edge, "/ws?client=a%21b", &token, "client", "'!'"),
        (site.broker, "/ws/agent?agent_id=a+b", &key, "agent_id", "write %2B"),
        (site.broker, "/ws/agent?client=a%C3%A9", &key, "client", "'é'"),
    ] {
        let answer = exchange(listener, handshake(path, listener, credentials).as_bytes()).await;
        assert!(status(&answer) == 400 && answer.contains(&format!("`{parameter}`")) && answer.contains(says), "{answer}");
    }
    let plus = handshake("/ws/agent?agent_id=a%2Bb", site.broker, &key);
    assert_eq!(status(&first_answer(site.broker, plus.as_bytes()).await), 101);
}
