//! Registering, proving and ending sessions over HTTP.

use std::time::Duration;

use common::config::CookieSecure;

use crate::harness::Edge;

#[actix_web::test]
async fn a_session_is_made_by_the_server_and_owned_by_cookie_or_token() {
    let edge = Edge::start();
    let answer = edge.request("POST", "/api/client", &[]).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let session = answer.json();
    let id = session["client_id"].as_str().expect("an id");
    assert!(id.parse::<common::id::SessionId>().is_ok());
    assert_eq!(session["is_authenticated"], false);
    assert_eq!(session["wallet_address"], serde_json::Value::Null);
    assert_eq!(session["new_session"], true);
    assert!(session["created_at"].as_str().is_some_and(|time| time.ends_with('Z')));
    let token = session["token"].as_str().expect("a token");

    let (cookie, attributes) = answer.cookie().expect("a cookie");
    assert_eq!(cookie, token);
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="] {
        assert!(attributes.contains(attribute), "{attributes}");
    }
    assert!(!attributes.contains("Secure"), "{attributes}");

    let path = format!("/api/client/{id}");
    let by_cookie = edge.request("GET", &path, &[("Cookie", &format!("a=b; agent_bridge_session={cookie}"))]).await;
    let by_token = edge.request("GET", &path, &[("Authorization", &format!("Bearer {token}"))]).await;
    for answer in [by_cookie, by_token] {
        assert_eq!(answer.status, 200);
        let seen = answer.json();
        assert_eq!(seen["client_id"], id);
        assert_eq!(seen["created_at"], session["created_at"]);
        assert_eq!(seen["connections"], 0);
    }
}

#[actix_web::test]
async fn the_owner_of_a_session_gets_no_second_one() {
    let edge = Edge::start();
    let first = edge.request("POST", "/api/client", &[]).await.json();
    let token = first["token"].as_str().expect("a token");
    let by_cookie = edge.request("POST", "/api/client", &[("Cookie", &format!("agent_bridge_session={token}"))]).await;
    assert_eq!(by_cookie.status, 200);
    let again = by_cookie.json();
    assert_eq!((&again["client_id"], &again["new_session"]), (&first["client_id"], &false.into()));
    assert_eq!(again["token"], serde_json::Value::Null, "a page must not learn what its cookie holds");

    let by_token = edge.request("POST", "/api/client", &[("Authorization", &format!("Bearer {token}"))]).await;
    assert_eq!(by_token.json()["token"], token);
    assert_eq!(by_token.cookie(), None);

    let rubbish = edge.request("POST", "/api/client", &[("Cookie", "agent_bridge_session=rubbish")]).await;
    assert_eq!(rubbish.status, 201);
}

#[actix_web::test]
async fn a_session_past_half_its_life_is_renewed() {
    // Tokens count in whole seconds: of two seconds more than half is gone after one.
    let edge = Edge::with(|settings| settings.web.session_ttl = Duration::from_secs(3));
    let first = edge.request("POST", "/api/client", &[]).await.json();
    let token = first["token"].as_str().expect("a token").to_owned();
    let renewed = crate::harness::eventually("a renewed cookie", async || {
        let answer = edge.request("POST", "/api/client", &[("Cookie", &format!("agent_bridge_session={token}"))]).await;
        answer.cookie().map(|(cookie, _)| (cookie, answer.json()))
    })
    .await;
    let (cookie, seen) = renewed;
    assert_ne!(cookie, token);
    assert_eq!((&seen["client_id"], &seen["new_session"]), (&first["client_id"], &false.into()));
    assert_eq!(seen["created_at"], first["created_at"]);
}

#[actix_web::test]
async fn knowing_an_id_is_not_owning_the_session() {
    let edge = Edge::start();
    let mine = edge.request("POST", "/api/client", &[]).await.json();
    let theirs = edge.request("POST", "/api/client", &[]).await.json();
    let path = format!("/api/client/{}", theirs["client_id"].as_str().expect("an id"));
    let token = mine["token"].as_str().expect("a token");
    let bearer = format!("Bearer {token}");

    let nobody = edge.get(&path).await;
    assert_eq!((nobody.status, nobody.error_code().as_str()), (401, "unauthorized"));
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer"));
    let other = edge.request("GET", &path, &[("Authorization", &bearer)]).await;
    assert_eq!((other.status, other.error_code().as_str()), (403, "forbidden"));
    for wrong in ["Bearer rubbish", "Basic YTpi", "Bearer", ""] {
        assert_eq!(edge.request("GET", &path, &[("Authorization", wrong)]).await.status, 401, "{wrong}");
    }
    let bad = edge.request("GET", "/api/client/not-a-uuid", &[("Authorization", &bearer)]).await;
    assert_eq!((bad.status, bad.error_code().as_str()), (400, "invalid_session_id"));
}

#[actix_web::test]
async fn an_assertion_to_the_broker_is_no_session_token() {
    let edge = Edge::with(|settings| settings.web.session_secret = settings.broker.bridge_secret.clone());
    let identity = common::assertion::ClientIdentity::anonymous(common::id::SessionId::fresh());
    let assertion = common::assertion::mint(&identity, &edge.settings.broker.bridge_secret).expect("signs");
    let path = format!("/api/client/{}", identity.session_id);
    assert_eq!(edge.request("GET", &path, &[("Authorization", &format!("Bearer {assertion}"))]).await.status, 401);
}

#[actix_web::test]
async fn an_ended_session_is_over() {
    let edge = Edge::start();
    let session = edge.request("POST", "/api/client", &[]).await.json();
    let cookie = format!("agent_bridge_session={}", session["token"].as_str().expect("a token"));
    assert_eq!(edge.request("DELETE", "/api/client/session", &[]).await.status, 401);
    let ended = edge.request("DELETE", "/api/client/session", &[("Cookie", &cookie)]).await;
    assert_eq!(ended.status, 204);
    let (value, attributes) = ended.cookie().expect("a cookie");
    assert!(value.is_empty() && attributes.contains("Max-Age=0"), "{attributes}");

    let path = format!("/api/client/{}", session["client_id"].as_str().expect("an id"));
    let after = edge.request("GET", &path, &[("Cookie", &cookie)]).await;
    assert_eq!((after.status, after.error_code().as_str()), (401, "session_ended"));
    let anew = edge.request("POST", "/api/client", &[("Cookie", &cookie)]).await;
    assert_eq!(anew.status, 201);
    assert_ne!(anew.json()["client_id"], session["client_id"]);
}

#[actix_web::test]
async fn pages_of_other_sites_cannot_act_with_the_cookie() {
    let edge = Edge::with(|settings| settings.web.allowed_origins = vec!["https://app.example".to_owned()]);
    let session = edge.request("POST", "/api/client", &[]).await.json();
    let token = session["token"].as_str().expect("a token");
    let cookie = format!("agent_bridge_session={token}");
    let own = format!("http://{}", edge.host());

    for foreign in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        for (method, path) in [("POST", "/api/client"), ("DELETE", "/api/client/session")] {
            let answer = edge.request(method, path, &[("Cookie", &cookie), ("Origin", foreign)]).await;
            assert_eq!((answer.status, answer.error_code().as_str()), (403, "origin_not_allowed"), "{method} {foreign}");
        }
        let answer = edge.refused_upgrade("/ws", &[("Cookie", &cookie), ("Origin", foreign)]).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (403, "origin_not_allowed"), "{foreign}");
        assert_eq!(edge.request("POST", "/api/client", &[("Origin", foreign)]).await.status, 403, "nor plant one");
    }
    for origin in ["https://app.example", own.as_str()] {
        assert_eq!(edge.request("POST", "/api/client", &[("Cookie", &cookie), ("Origin", origin)]).await.status, 200);
    }
    let bearer = format!("Bearer {token}");
    let program =
        edge.request("DELETE", "/api/client/session", &[("Authorization", &bearer), ("Origin", "https://x.example")]).await;
    assert_eq!(program.status, 204, "no page can make a browser send a bearer token");
}

#[actix_web::test]
async fn cookies_are_secure_where_the_site_is() {
    let secure = async |edge: &Edge, headers: &[(&str, &str)]| {
        let (_, attributes) = edge.request("POST", "/api/client", headers).await.cookie().expect("a cookie");
        attributes.contains("Secure")
    };
    let auto = Edge::start();
    assert!(!secure(&auto, &[]).await);
    let by_https = [("X-Forwarded-Proto", "https")];
    assert!(!secure(&auto, &by_https).await, "a stranger is not believed");
    let behind = Edge::with(|settings| settings.proxies.trusted = vec!["127.0.0.1".parse().expect("a network")]);
    assert!(secure(&behind, &by_https).await && !secure(&behind, &[]).await);
    let always = Edge::with(|settings| settings.web.cookie_secure = CookieSecure::Always);
    assert!(secure(&always, &[]).await);
    let never = Edge::with(|settings| settings.web.cookie_secure = CookieSecure::Never);
    assert!(!secure(&never, &by_https).await);
}

#[actix_web::test]
async fn api_routes_know_their_methods_and_unknown_ones_are_json() {
    let edge = Edge::start();
    for (method, path, allow) in [
        ("GET", "/api/client", "POST"),
        ("POST", "/api/client/session", "DELETE"),
        ("POST", "/api/client/11111111-1111-4111-8111-111111111111", "GET"),
    ] {
        let answer = edge.request(method, path, &[]).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {path}");
        assert_eq!(answer.error_code(), "method_not_allowed");
    }
    for (method, path) in [("GET", "/api/none"), ("POST", "/api/client/a/b"), ("DELETE", "/api/none.js")] {
        let answer = edge.request(method, path, &[("Accept", "text/html")]).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (404, "not_found"), "{method} {path}");
    }
}
