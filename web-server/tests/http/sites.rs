//! What pages of other sites may and may not do, and what every answer says to a browser.

use common::secret::Secret;

use crate::{client::Answer, harness::Edge};

const APP: &str = "https://app.example";

fn with_app() -> Edge {
    Edge::with(|settings| settings.web.allowed_origins = vec![APP.to_owned()])
}

async fn preflight(edge: &Edge, origin: &str, method: &str) -> Answer {
    let headers = [
        ("Origin", origin),
        ("Access-Control-Request-Method", method),
        ("Access-Control-Request-Headers", "authorization, content-type"),
    ];
    edge.request("OPTIONS", "/api/client", &headers).await
}

#[actix_web::test]
async fn allowed_origins_may_call_the_api_and_others_not() {
    let edge = with_app();
    for method in ["POST", "DELETE", "GET"] {
        let answer = preflight(&edge, APP, method).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(APP)), "{method}");
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        let headers = answer.header("access-control-allow-headers").unwrap_or_default().to_ascii_lowercase();
        assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
    }
    let answer = edge.request("POST", "/api/client", &[("Origin", APP)]).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (201, Some(APP)));
    assert!(answer.header("vary").unwrap_or_default().to_ascii_lowercase().contains("origin"));

    for origin in ["https://evil.example", "null", "https://app.example.evil"] {
        assert_eq!(preflight(&edge, origin, "POST").await.header("access-control-allow-origin"), None, "{origin}");
        let read = edge.request("GET", "/api/", &[("Origin", origin)]).await;
        assert_eq!(read.header("access-control-allow-origin"), None, "{origin}");
    }
    assert_eq!(preflight(&edge, APP, "PATCH").await.header("access-control-allow-origin"), None);
    let alone = Edge::start();
    assert_eq!(preflight(&alone, APP, "POST").await.header("access-control-allow-origin"), None);
}

#[actix_web::test]
async fn every_route_refuses_changes_from_other_sites() {
    let edge = with_app();
    for (method, path) in
        [("POST", "/api/client"), ("DELETE", "/api/client/session"), ("POST", "/api/none"), ("PUT", "/"), ("POST", "/ws")]
    {
        for headers in [
            [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")],
            // A browser that hides the origin still says that the page is another site's.
            [("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Site", "cross-site")],
            [("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Site", "same-site")],
            // Browsers send remembered Basic credentials by themselves.
            [("Origin", "https://evil.example"), ("Authorization", "Basic YTpi")],
        ] {
            let answer = edge.request(method, path, &headers).await;
            assert_eq!((answer.status, answer.error_code().as_str()), (403, "origin_not_allowed"), "{method} {path} {headers:?}");
        }
    }
    assert_eq!(edge.request("POST", "/api/client", &[("Sec-Fetch-Site", "same-origin")]).await.status, 201);
    assert_eq!(edge.request("POST", "/api/client", &[]).await.status, 201);
}

#[actix_web::test]
async fn every_answer_carries_the_security_headers() {
    let edge = with_app();
    let upgrade = edge.refused_upgrade("/ws", &[("Origin", "https://evil.example")]).await;
    let answers = [
        edge.get("/").await,
        edge.get("/assets/none.js").await,
        edge.get("/api/").await,
        edge.get("/api/none").await,
        edge.request("DELETE", "/api/client", &[]).await,
        edge.request("POST", "/api/client", &[("Origin", "https://evil.example")]).await,
        edge.get("/stats").await,
        upgrade,
    ];
    for answer in answers {
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        for weak in ["unsafe-inline", "unsafe-eval", "*", "http:", "ws:"] {
            assert!(!policy.contains(weak), "{weak} in {policy}");
        }
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{}", answer.status);
        }
        assert!(policy.contains("connect-src 'self';") && policy.contains("object-src 'none'"), "{policy}");
        assert!(answer.header("permissions-policy").is_some());
        assert_eq!(answer.header("server"), None);
    }
}

#[actix_web::test]
async fn statistics_are_for_operators() {
    let edge = Edge::with(|settings| settings.broker.operator_token = Secret::new("an-operator-token"));
    assert_eq!(edge.get("/stats").await.status, 401);
    assert_eq!(edge.request("GET", "/stats", &[("Authorization", "Bearer another")]).await.status, 401);
    assert_eq!(edge.request("GET", "/stats", &[("Authorization", "Bearer an-operator-token")]).await.status, 200);
    let local = Edge::start();
    assert_eq!(local.get("/stats").await.status, 200);
    assert_eq!(local.request("GET", "/stats", &[("X-Forwarded-For", "127.0.0.1")]).await.status, 401, "through a proxy");
    let rebound = local.request("GET", "/stats", &[("Origin", "http://rebound.example")]).await;
    assert_eq!(rebound.status, 401, "a page in a browser on this machine");
    let behind = Edge::with(|settings| settings.proxies.trusted = vec!["10.0.0.0/8".parse().expect("a network")]);
    assert_eq!(behind.get("/stats").await.status, 401, "where proxies are trusted, only with the token");
    assert_eq!(local.request("GET", "/health/live", &[("X-Forwarded-For", "192.0.2.1")]).await.status, 200);
}
