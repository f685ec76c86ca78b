//! The names under which the edge answers, and the cookie that counts.

use common::secret::Secret;

use crate::{client::Answer, harness::Edge};

/// A name that somebody made resolve to this machine.
const REBOUND: &str = "evil.example";
const UPGRADE: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];
const ROUTES: [(&str, &str); 17] = [
    ("GET", "/"),
    ("GET", "/index.html"),
    ("GET", "/assets/none.js"),
    ("GET", "/api/"),
    ("GET", "/api/none"),
    ("POST", "/api/client"),
    ("DELETE", "/api/client/6f9619ff-8b86-4011-b42d-00c04fc964ff"),
    ("GET", "/api/v1/channels/topic:t/history"),
    ("POST", "/auth/challenge"),
    ("POST", "/auth/verify"),
    ("POST", "/auth/token"),
    ("POST", "/auth/logout"),
    ("GET", "/stats"),
    ("GET", "/ws"),
    ("GET", "/ws/6f9619ff-8b86-4011-b42d-00c04fc964ff"),
    ("OPTIONS", "/api/client"),
    ("GET", "/health/none"),
];

fn is_refused(answer: &Answer) -> bool {
    answer.status == 421 && answer.error_code() == "host_not_allowed"
}

#[actix_web::test]
async fn under_a_strange_name_every_route_and_upgrade_is_refused() {
    let edge = Edge::start();
    let port = edge.handle.addr().port();
    for (method, path) in ROUTES {
        for host in [REBOUND.to_owned(), format!("{REBOUND}:{port}"), format!("127.0.0.1.{REBOUND}:{port}"), String::new()] {
            let answer = edge.request_under(&host, method, path, &[]).await;
            assert!(is_refused(&answer), "{method} {path} {host:?}: {answer:?}");
        }
        // A page of that name has the same origin, and its browser says so.
        let headers = [("Origin", "http://evil.example"), ("Sec-Fetch-Site", "same-origin"), ("Authorization", "Bearer guess")];
        if path != "/stats" {
            assert!(is_refused(&edge.request_under(REBOUND, method, path, &headers).await), "{method} {path}");
        }
        assert!(!is_refused(&edge.request(method, path, &[]).await), "{method} {path}");
    }
    for path in ["/ws", "/ws/6f9619ff-8b86-4011-b42d-00c04fc964ff"] {
        assert!(is_refused(&edge.request_under(REBOUND, "GET", path, &UPGRADE).await), "{path}");
    }
    let message = edge.request_under(REBOUND, "GET", "/", &[]).await.text();
    assert!(message.contains("web.hosts"), "{message}");
}

#[actix_web::test]
async fn a_target_in_absolute_form_is_a_name_too() {
    let edge = Edge::start();
    let host = edge.host();
    assert!(is_refused(&edge.request_under(&host, "GET", "http://evil.example/api/", &[]).await));
    assert_eq!(edge.request_under(&host, "GET", &format!("http://{host}/api/"), &[]).await.status, 200);
}

#[actix_web::test]
async fn own_and_configured_names_addresses_and_probes_are_answered() {
    let edge = Edge::with(|settings| {
        settings.web.hosts = vec!["bridge.example".into(), "*.apps.example".into()];
        settings.web.allowed_origins = vec!["https://page.example".into()];
        settings.auth.siwe_domain = Some("login.example:8443".into());
        settings.acme.domains = vec!["certified.example".into()];
    });
    for host in [
        "localhost",
        "LocalHost.:1",
        "app.localhost",
        "127.0.0.1",
        "[::1]:8081",
        "203.0.113.7:80",
        "Bridge.Example.",
        "one.apps.example:8081",
        "page.example",
        "login.example",
        "certified.example:443",
    ] {
        assert_eq!(edge.request_under(host, "GET", "/api/", &[]).await.status, 200, "{host}");
    }
    for host in ["apps.example", "bridge.example.evil.example", "other.example"] {
        assert!(is_refused(&edge.request_under(host, "GET", "/api/", &[]).await), "{host}");
        for path in ["/health/live", "/health/ready"] {
            assert_eq!(edge.request_under(host, "GET", path, &[]).await.status, 200, "{host} {path}");
        }
    }
}

#[actix_web::test]
async fn an_operator_is_known_by_the_token_under_any_name_and_a_guess_costs_what_it_costs() {
    let edge = Edge::with(|settings| {
        settings.broker.operator_token = Secret::new("an-operator-token");
        settings.limits.exempt_networks.clear();
        settings.limits.free_failures = 1;
    });
    let ask = async |token: &str| {
        edge.request_under(REBOUND, "GET", "/stats", &[("Authorization", &format!("Bearer {token}"))]).await.status
    };
    assert_eq!(ask("an-operator-token").await, 200);
    assert_eq!([ask("guess").await, ask("guess").await, ask("guess").await], [401, 401, 429]);
}

#[actix_web::test]
async fn a_planted_cookie_without_the_prefix_is_not_looked_at_where_cookies_are_secure() {
    let edge = Edge::with(|settings| settings.web.hosts = vec!["bridge.example".into()]);
    let session = edge.request("POST", "/api/client", &[]).await.json();
    let (token, id) = (session["token"].as_str().expect("a token"), session["client_id"].as_str().expect("an id"));
    let path = format!("/api/client/{id}");
    let (plain, prefixed) = (format!("agent_bridge_session={token}"), format!("__Host-agent_bridge_session={token}"));
    let ask = async |host: &str, cookie: &str| edge.request_under(host, "GET", &path, &[("Cookie", cookie)]).await.status;
    assert_eq!([ask("bridge.example", &plain).await, ask("bridge.example", &prefixed).await], [401, 200]);
    assert_eq!([ask("localhost", &plain).await, ask("localhost", &prefixed).await], [200, 401]);
    let planted = format!("agent_bridge_session=planted; {prefixed}");
    assert_eq!(ask("bridge.example", &planted).await, 200);

    let answer = edge.request_under("bridge.example", "POST", "/api/client", &[]).await;
    let cookie = answer.header("set-cookie").expect("a cookie");
    assert!(cookie.starts_with("__Host-agent_bridge_session=") && cookie.contains("; Secure"), "{cookie}");
    assert!(cookie.contains("; Path=/") && !cookie.contains("Domain"), "{cookie}");
}
