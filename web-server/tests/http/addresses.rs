//! Whose address a client has, and what one address may do.

use common::{assertion, config::Settings, rate::Rate};
use futures_util::StreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{client_async, tungstenite::client::IntoClientRequest};

use crate::{
    broker::Broker,
    harness::{Edge, in_time, until_refused},
};

/// No address is exempt: those of the test count too.
fn counted(settings: &mut Settings) {
    settings.limits.exempt_networks.clear();
}

fn behind_a_proxy(settings: &mut Settings) {
    counted(settings);
    settings.proxies.trusted = vec!["127.0.0.1".parse().expect("a network")];
}

/// The client's address that the broker is told for a request with these headers.
async fn told(change: impl FnOnce(&mut Settings), headers: &[(&'static str, &str)], before: &[u8]) -> Option<String> {
    let mut broker = Broker::start().await;
    let edge = Edge::with(|settings| {
        settings.web.broker_url = Some(broker.url());
        change(settings);
    });
    let register =
        [before, format!("POST /api/client HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n", edge.host()).as_bytes()].concat();
    let answer = raw(&edge, &[register, b"Connection: close\r\n\r\n".to_vec()].concat()).await;
    let token = answer.split("\"token\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token").to_owned();
    let mut request = format!("ws://{}/ws", edge.host()).into_client_request().expect("a request");
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().expect("a header"));
    }
    let mut stream = TcpStream::connect(edge.host()).await.expect("connects");
    stream.write_all(before).await.expect("writes");
    let (_socket, _) = in_time("an upgrade", client_async(request, stream)).await.expect("upgraded");
    let link = broker.link().await;
    let assertion = link.authorization.strip_prefix("Bearer ").expect("an assertion");
    assertion::verify(assertion, &edge.settings.broker.bridge_secret).expect("a good one").ip
}

async fn raw(edge: &Edge, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(edge.host()).await.expect("connects");
    socket.write_all(bytes).await.expect("writes");
    let mut answer = Vec::new();
    // A connection that is closed unread may fail instead of ending.
    let _ = in_time("an answer", socket.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[actix_web::test]
async fn the_broker_is_told_only_what_a_trusted_proxy_says() {
    let header = [("x-forwarded-for", "10.9.9.9, 203.0.113.7")];
    assert_eq!(told(|_| (), &header, b"").await.as_deref(), Some("127.0.0.1"));
    assert_eq!(told(behind_a_proxy, &header, b"").await.as_deref(), Some("203.0.113.7"), "what the client made up is left out");
    assert_eq!(told(behind_a_proxy, &[("forwarded", "for=203.0.113.7")], b"").await.as_deref(), Some("127.0.0.1"));
    let forwarded = |settings: &mut Settings| {
        behind_a_proxy(settings);
        settings.proxies.header = common::config::ProxyHeader::Forwarded;
    };
    let header = [("forwarded", "for=\"[2001:db8::7]:4711\";proto=https")];
    assert_eq!(told(forwarded, &header, b"").await.as_deref(), Some("2001:db8::7"));
}

#[actix_web::test]
async fn the_proxy_protocol_is_read_from_trusted_proxies_only() {
    let speaking = |settings: &mut Settings| {
        behind_a_proxy(settings);
        settings.proxies.web_protocol = true;
    };
    let line = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n";
    assert_eq!(told(speaking, &[], line).await.as_deref(), Some("203.0.113.7"));
    let binary =
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &[203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 1, 0xbb]].concat();
    assert_eq!(told(speaking, &[], &binary).await.as_deref(), Some("203.0.113.7"));
    let header = [("x-forwarded-for", "198.51.100.1")];
    assert_eq!(told(speaking, &header, line).await.as_deref(), Some("203.0.113.7"), "the header is the client's own");

    let edge = Edge::with(speaking);
    let plain = format!("GET /health/live HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", edge.host());
    assert_eq!(raw(&edge, plain.as_bytes()).await, "", "a proxy that says nothing is not served");
    let untrusting = Edge::with(|settings| settings.proxies.web_protocol = true);
    assert!(raw(&untrusting, plain.as_bytes()).await.starts_with("HTTP/1.1 200"), "who is no proxy speaks plainly");
    let lie = [line.as_slice(), plain.as_bytes()].concat();
    assert!(!raw(&untrusting, &lie).await.starts_with("HTTP/1.1 200"), "and is not believed");
}

#[actix_web::test]
async fn new_sessions_of_an_address_have_a_rate() {
    let edge = Edge::with(|settings| {
        behind_a_proxy(settings);
        settings.rates.registrations = Rate::new(1, 2);
    });
    let register = async |address: &str| edge.request("POST", "/api/client", &[("X-Forwarded-For", address)]).await;
    let refused = until_refused(async |attempt| {
        let address = format!("192.0.{attempt}.1");
        assert_eq!(register(&address).await.status, 201);
        assert_eq!(register(&address).await.status, 201);
        register(&address).await
    })
    .await;
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "rate_limited"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.json()["error"]["retry_after_ms"].as_u64() >= Some(1));
    let (status, token) = (register("192.0.2.2").await.status, edge.request("GET", "/", &[]).await.status);
    assert_eq!((status, token), (201, 200));
}

#[actix_web::test]
async fn every_family_of_routes_has_a_rate_of_its_own() {
    let edge = Edge::with(|settings| {
        behind_a_proxy(settings);
        settings.broker.operator_token = common::secret::Secret::new("an-operator-token");
        settings.rates.sessions = Rate::new(1, 1);
        settings.rates.operators = Rate::new(1, 1);
        settings.rates.logins = Rate::new(1, 1);
    });
    let describe = format!("/api/client/{}", common::id::SessionId::fresh());
    // Without a session: everything is charged to the address.
    let families = [
        vec![("GET", &*describe), ("POST", "/auth/refresh"), ("DELETE", "/api/client/session")],
        vec![("GET", "/stats")],
        vec![("POST", "/auth/challenge"), ("POST", "/auth/verify"), ("POST", "/auth/token")],
    ];
    for (family, routes) in families.iter().enumerate() {
        for (number, (method, path)) in routes.iter().enumerate() {
            let refused = until_refused(async |attempt| {
                // An address that has used up its rate.
                let address = format!("192.0.{attempt}.{}", 10 * family + number);
                let ask = async |method: &str, path: &str| edge.request(method, path, &[("X-Forwarded-For", &*address)]).await;
                let (first_method, first_path) = routes[0];
                assert_ne!(ask(first_method, first_path).await.status, 429, "{method} {path}");
                let answer = ask(method, path).await;
                let (method, path) = if family == 1 { ("POST", "/api/client") } else { ("GET", "/stats") };
                assert_ne!(ask(method, path).await.status, 429, "another family");
                answer
            })
            .await;
            assert_eq!((refused.status, refused.error_code().as_str()), (429, "rate_limited"), "{method} {path}");
            assert_eq!(refused.header("retry-after"), Some("1"), "{method} {path}");
        }
    }
}

#[actix_web::test]
async fn each_session_has_its_own_rate_behind_one_address() {
    let edge = Edge::with(|settings| {
        counted(settings);
        settings.rates.sessions = Rate::new(1, 1);
    });
    let (mine, others) = (edge.session().await, edge.session().await);
    let describe = async |(id, token): &(String, String)| {
        edge.request("GET", &format!("/api/client/{id}"), &[("Authorization", &format!("Bearer {token}"))]).await
    };
    assert_eq!(until_refused(async |_| describe(&mine).await).await.error_code(), "rate_limited");
    assert_eq!(describe(&others).await.status, 200);
}

#[actix_web::test]
async fn a_session_that_is_there_is_confirmed_at_any_rate() {
    let edge = Edge::with(|settings| {
        counted(settings);
        settings.rates.registrations = Rate::new(1, 1);
    });
    let (_, token) = edge.session().await;
    let bearer = format!("Bearer {token}");
    for _ in 0..5 {
        assert_eq!(edge.request("POST", "/api/client", &[("Authorization", &bearer)]).await.status, 200);
    }
}

#[actix_web::test]
async fn forged_tokens_cost_a_wait_and_good_ones_do_not() {
    let edge = Edge::with(counted);
    let (id, token) = edge.session().await;
    let path = format!("/api/client/{id}");
    let ask = async |token: &str| edge.request("GET", &path, &[("Authorization", &format!("Bearer {token}"))]).await;
    for _ in 0..6 {
        assert_eq!(ask("forged").await.status, 401);
    }
    let refused = ask("forged").await;
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "too_many_failures"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(ask(&token).await.status, 200);
    assert_eq!(edge.get(&path).await.status, 401, "who shows nothing has not failed");
}

#[actix_web::test]
async fn sockets_of_an_address_are_bounded() {
    let broker = Broker::start().await;
    let edge = Edge::with(|settings| {
        counted(settings);
        settings.web.broker_url = Some(broker.url());
        settings.limits.max_address_connections = 2;
    });
    let (mut one, _two) = (edge.browser().await, edge.browser().await);
    let (_, token) = edge.session().await;
    let bearer = format!("Bearer {token}");
    let refused = edge.refused_upgrade("/ws", &[("Authorization", &bearer)]).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "too_many_connections"));
    one.socket.close(None).await.expect("closes");
    while one.socket.next().await.is_some_and(|frame| frame.is_ok()) {}
    crate::harness::eventually("there is room again", async || {
        let stats = edge.get("/stats").await.json();
        (stats["browsers"]["sockets"] == 1).then_some(())
    })
    .await;
    let (session, token) = edge.session().await;
    edge.open("/ws", session, token).await;
}

#[actix_web::test]
async fn guesses_at_the_operators_token_make_their_address_wait() {
    let right = "a-token-that-is-too-long-for-anybody-to-guess";
    let edge = Edge::with(|settings| {
        counted(settings);
        settings.broker.operator_token = common::secret::Secret::new(right);
        settings.limits.free_failures = 3;
        settings.limits.first_failure_wait = std::time::Duration::from_secs(600);
    });
    let stats = async |token: &str| {
        let answer = edge.request("GET", "/stats", &[("Authorization", &format!("Bearer {token}"))]).await;
        (answer.status, (answer.status != 200).then(|| answer.error_code()))
    };
    let refused = |status, code: &str| (status, Some(code.to_owned()));
    assert_eq!(edge.get("/stats").await.status, 401, "who shows none has not guessed");
    for _ in 0..4 {
        assert_eq!(stats("a guess").await, refused(401, "unauthorized"));
    }
    assert_eq!(stats("a guess").await, refused(429, "too_many_failures"));
    assert_eq!(stats(right).await.0, 200, "a token nobody guesses does not wait for others");
}

#[actix_web::test]
async fn an_address_has_so_many_connections_that_say_nothing() {
    let edge = Edge::with(|settings| {
        counted(settings);
        settings.limits.max_address_handshakes = 3;
    });
    let mut silent = Vec::new();
    for _ in 0..3 {
        let mut socket = TcpStream::connect(edge.host()).await.expect("connects");
        socket.write_all(b"GET / HT").await.expect("writes");
        silent.push(socket);
    }
    let request = format!("GET /health/live HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", edge.host());
    // The three may still be on their way to the gate.
    crate::harness::eventually("the next is closed unread", async || {
        raw(&edge, request.as_bytes()).await.is_empty().then_some(())
    })
    .await;
    drop(silent);
    let turned_away = async || edge.request("GET", "/stats", &[]).await.json()["turned_away"].as_u64();
    crate::harness::eventually("there is room again", async || {
        raw(&edge, request.as_bytes()).await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    assert!(turned_away().await >= Some(1));
}
