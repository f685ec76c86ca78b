//! Tokens of issuers, and credentials that are refreshed.

use std::time::{Duration, SystemTime};

use common::{assertion, backplane::ToEdge, config::Settings, secret::Secret};
use identity::tokens::{Algorithm, MintClaims, MintKey, MintSettings, mint};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    broker::{Broker, BrokerLink},
    harness::{Edge, eventually},
    wallet::{Wallet, cookie},
};

const SECRET: &str = "an-issuers-secret-of-at-least-32-bytes";

fn trusts_an_issuer(settings: &mut Settings) {
    settings.auth.jwt_issuers = vec!["https://issuer.example".into()];
    settings.auth.jwt_audiences = vec!["bridge".into()];
    settings.auth.jwt_secret = Secret::new(SECRET);
    settings.auth.jwt_wallet_claim = Some("wallet".into());
}

fn token_for(subject: &str, lifetime: Duration) -> String {
    token_of(subject, "bridge", SECRET, lifetime, SystemTime::now())
}

fn token_of(subject: &str, audience: &str, secret: &str, lifetime: Duration, now: SystemTime) -> String {
    let settings = MintSettings {
        key: MintKey::Secret(Secret::new(secret)),
        algorithm: Algorithm::HS256,
        key_id: None,
        issuer: "https://issuer.example".into(),
        audience: audience.into(),
        lifetime,
    };
    let wallet = Wallet::new(9).address().parse::<String>().ok();
    let claims = MintClaims {
        subject: subject.into(),
        wallet: wallet.and_then(|wallet| identity::siwe::Address::parse(&wallet).ok()),
        scopes: vec!["read".into()],
        ..MintClaims::default()
    };
    mint(&settings, &claims, now).expect("signs").reveal().to_owned()
}

const HOUR: Duration = Duration::from_secs(3600);

#[actix_web::test]
async fn valid_logins_are_let_in_beside_any_number_of_forged_ones_of_the_same_address() {
    let edge = Edge::with(|settings| {
        trusts_an_issuer(settings);
        settings.limits.exempt_networks.clear();
    });
    let forged = async || {
        let token = token_of("ann", "bridge", "another-secret-of-at-least-32-bytes-too", HOUR, SystemTime::now());
        let (login, bearer) = (json!({"token": token}), format!("Bearer {token}"));
        let statuses = [
            edge.post("/auth/token", &[], &login).await.status,
            edge.request("POST", "/auth/refresh", &[("Authorization", &bearer)]).await.status,
            edge.post("/auth/challenge", &[("Authorization", &bearer)], &json!({})).await.status,
        ];
        assert!(statuses.iter().all(|status| matches!(status, 401 | 429)), "{statuses:?}");
        statuses
    };
    // More than all rates and free failures allow.
    let mut refused = 0;
    while refused < 20 {
        refused += forged().await.iter().filter(|status| **status == 429).count();
    }
    let (neighbour, session_token) = edge.session().await;
    let bearer = format!("Bearer {session_token}");
    for number in 0..12 {
        forged().await;
        let answer = edge.post("/auth/token", &[], &json!({"token": token_for("bob", HOUR)})).await;
        assert_eq!(answer.status, 201, "{number}: {}", answer.text());
        let answer = edge.request("POST", "/auth/refresh", &[("Authorization", &bearer)]).await;
        assert_eq!(answer.status, 200, "{number}: {}", answer.text());
        let answer = edge.request("GET", &format!("/api/client/{neighbour}"), &[("Authorization", &bearer)]).await;
        assert_eq!(answer.status, 200, "{number}: {}", answer.text());
        forged().await;
    }
    let wallet = Wallet::new(3);
    let answer = edge.sign_in(&session_token, &wallet, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn identity_of(edge: &Edge, link: &BrokerLink) -> assertion::ClientIdentity {
    let bearer = link.authorization.strip_prefix("Bearer ").expect("a bearer assertion");
    assertion::verify(bearer, &edge.settings.broker.bridge_secret).expect("valid")
}

async fn edge_and_broker(change: impl FnOnce(&mut Settings)) -> (Broker, Edge) {
    let broker = Broker::start().await;
    let edge = Edge::with(|settings| {
        trusts_an_issuer(settings);
        settings.web.broker_url = Some(broker.url());
        change(settings);
    });
    (broker, edge)
}

#[actix_web::test]
async fn a_token_logs_a_session_in_for_as_long_as_it_is_good() {
    let (mut broker, edge) = edge_and_broker(|_| ()).await;
    let browser = edge.browser().await;
    let socket = identity_of(&edge, &broker.link().await).socket_id;
    let login = json!({"token": token_for("ann", HOUR), "sockets": [socket]});
    let answer = edge.post("/auth/token", &[("Cookie", &cookie(&browser.token))], &login).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let session = answer.json();
    assert_eq!((&session["client_id"], &session["user_id"]), (&json!(browser.session), &json!("ann")));
    assert_eq!(session["wallet_address"], json!(Wallet::new(9).address()));
    let (_, attributes) = answer.cookie().expect("a cookie");
    let age = attributes.split("Max-Age=").nth(1).and_then(|rest| rest.split(';').next()?.parse::<u64>().ok());
    let most = (HOUR + edge.settings.auth.jwt_leeway).as_secs();
    assert!(age.is_some_and(|age| (3000..=most).contains(&age)), "no longer than the token: {attributes}");

    let refused =
        edge.post("/auth/token", &[], &json!({"token": token_of("ann", "others", SECRET, HOUR, SystemTime::now())})).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (401, "token_audience_wrong"));
    let alone = edge.post("/auth/token", &[], &json!({"token": token_for("bob", HOUR)})).await;
    assert_eq!((alone.status, &alone.json()["user_id"]), (201, &json!("bob")));
    assert!(alone.json()["token"].is_string() && alone.cookie().is_some());
}

#[actix_web::test]
async fn a_token_alone_is_its_users_session_wherever_it_comes() {
    let (mut broker, edge) = edge_and_broker(|_| ()).await;
    let (first, second) = (token_for("ann", HOUR), token_for("ann", 2 * HOUR));
    assert_ne!(first, second);
    let mut sessions = Vec::new();
    for token in [&first, &second] {
        let browser = edge.open_with("/ws", &[("authorization", &format!("Bearer {token}"))]).await;
        let identity = identity_of(&edge, &broker.link().await);
        let login = identity.login.expect("a login");
        assert_eq!((login.user.as_str(), login.scopes.contains("read")), ("ann", true));
        sessions.push(identity.session_id.to_string());
        drop(browser);
    }
    assert_eq!(sessions[0], sessions[1]);
    let path = format!("/api/client/{}", sessions[0]);
    let seen = edge.request("GET", &path, &[("Authorization", &format!("Bearer {first}"))]).await;
    assert_eq!((seen.status, &seen.json()["user_id"]), (200, &json!("ann")));
    let other = edge.request("GET", &path, &[("Authorization", &format!("Bearer {}", token_for("bob", HOUR)))]).await;
    assert_eq!((other.status, other.error_code().as_str()), (403, "forbidden"));

    // After the logout that token is no longer valid, nor any other that was issued before.
    let bearer = format!("Bearer {first}");
    assert_eq!(edge.request("POST", "/auth/logout", &[("Authorization", &bearer)]).await.status, 204);
    for token in [&first, &second] {
        let refused = edge.request("GET", &path, &[("Authorization", &format!("Bearer {token}"))]).await;
        assert_eq!((refused.status, refused.error_code().as_str()), (401, "session_ended"));
    }
    let later = token_of("ann", "bridge", SECRET, HOUR, SystemTime::now() + Duration::from_secs(5));
    assert_eq!(edge.request("GET", &path, &[("Authorization", &format!("Bearer {later}"))]).await.status, 200);
}

#[actix_web::test]
async fn a_logout_closes_the_sockets_there_are_and_none_that_come_after_it() {
    let (mut broker, edge) = edge_and_broker(|_| ()).await;
    let bearer = format!("Bearer {}", token_for("ann", HOUR));
    let before = edge.open_with("/ws", &[("authorization", &bearer)]).await;
    let link = broker.link().await;
    assert_eq!(edge.request("POST", "/auth/logout", &[("Authorization", &bearer)]).await.status, 204);
    let later = token_of("ann", "bridge", SECRET, HOUR, SystemTime::now() + Duration::from_secs(5));
    let mut after = edge.open_with("/ws", &[("authorization", &format!("Bearer {later}"))]).await;
    let mut links = broker.link().await;
    assert_eq!((before.closed().await.0, link.closed().await), (4003, 4003));
    after.say("of the next session").await;
    assert_eq!(links.text().await, "of the next session");
}

#[actix_web::test]
async fn a_code_states_what_is_wrong_with_a_token() {
    let (_broker, edge) = edge_and_broker(|_| ()).await;
    let now = SystemTime::now();
    for (token, code) in [
        (token_of("ann", "bridge", SECRET, HOUR, now - 2 * HOUR), "token_expired"),
        (token_of("ann", "others", SECRET, HOUR, now), "token_audience_wrong"),
        (token_of("ann", "bridge", "another-secret-of-at-least-32-bytes!", HOUR, now), "token_signature_wrong"),
        (token_of("ann", "bridge", SECRET, HOUR, now + HOUR), "token_issued_in_future"),
        ("rubbish".to_owned(), "token_malformed"),
    ] {
        let bearer = edge.refused_upgrade("/ws", &[("Authorization", &format!("Bearer {token}"))]).await;
        assert_eq!((bearer.status, bearer.error_code().as_str()), (401, code));
        let protocols = format!("agent-bridge.v1, bearer.{token}");
        let protocol = edge.refused_upgrade("/ws", &[("Sec-WebSocket-Protocol", &protocols)]).await;
        assert_eq!((protocol.status, protocol.error_code().as_str()), (401, code));
    }
}

/// A token with these claims besides the required ones.
fn token_with(claims: &Value) -> String {
    let mut all = json!({"iss": "https://issuer.example", "aud": "bridge", "sub": "ann"});
    for (name, value) in claims.as_object().expect("claims") {
        all[name] = value.clone();
    }
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &all, &key).expect("signs")
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

#[actix_web::test]
async fn a_token_serves_as_a_session_only_if_it_says_when_it_was_issued() {
    let (_broker, edge) = edge_and_broker(|_| ()).await;
    let token = token_with(&json!({"exp": seconds(SystemTime::now() + HOUR)}));
    let refused = edge.refused_upgrade("/ws", &[("Authorization", &format!("Bearer {token}"))]).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (401, "token_claim_missing"));
    let exchanged = edge.post("/auth/token", &[], &json!({"token": token})).await;
    assert_eq!(exchanged.status, 201, "the login has a beginning then: {}", exchanged.text());
}

#[actix_web::test]
async fn no_token_is_good_for_longer_than_a_session() {
    let (_broker, edge) = edge_and_broker(|settings| settings.web.session_ttl = HOUR).await;
    let now = SystemTime::now();
    let far = seconds(now + 10_000 * HOUR);
    let old = token_with(&json!({"iat": seconds(now - 2 * HOUR), "exp": far}));
    let refused = edge.refused_upgrade("/ws", &[("Authorization", &format!("Bearer {old}"))]).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (401, "token_expired"));
    assert_eq!(edge.post("/auth/token", &[], &json!({"token": old})).await.error_code(), "token_expired");
    for token in [token_with(&json!({"iat": seconds(now), "exp": far})), token_with(&json!({"exp": far}))] {
        let session = edge.post("/auth/token", &[], &json!({"token": token})).await.json();
        let expires_at = session["expires_at"].as_str().and_then(common::timestamp::parse_ms).expect("a time");
        assert!(expires_at <= (seconds(now + HOUR) + 60) * 1000, "{session}");
    }
}

#[actix_web::test]
async fn a_token_within_the_leeway_logs_in() {
    let (_broker, edge) = edge_and_broker(|settings| settings.auth.jwt_leeway = Duration::from_secs(120)).await;
    let now = SystemTime::now();
    let token = token_with(&json!({"iat": seconds(now - HOUR), "exp": seconds(now - Duration::from_secs(5))}));
    let answer = edge.post("/auth/token", &[], &json!({"token": token})).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let browser = edge.open_with("/ws", &[("authorization", &format!("Bearer {token}"))]).await;
    drop(browser);
}

#[actix_web::test]
async fn a_browsers_script_can_bring_a_token_as_a_subprotocol() {
    let (mut broker, edge) = edge_and_broker(|_| ()).await;
    let (session, token) = edge.session().await;
    for (token, expected) in [(token_for("ann", HOUR), None), (token, Some(session))] {
        let protocols = format!("agent-bridge.v1, bearer.{token}");
        let browser = edge.open_with("/ws", &[("sec-websocket-protocol", &protocols)]).await;
        let identity = identity_of(&edge, &broker.link().await);
        match expected {
            Some(session) => assert_eq!(identity.session_id.to_string(), session),
            None => assert_eq!(identity.user_id().map(|user| user.as_str()), Some("ann")),
        }
        drop(browser);
    }
}

#[actix_web::test]
async fn a_refresh_over_http_keeps_open_sockets_open() {
    let (mut broker, edge) = edge_and_broker(|settings| settings.web.session_ttl = Duration::from_secs(4)).await;
    let mut browser = edge.browser().await;
    let mut link = broker.link().await;
    let told = browser.envelope().await;
    assert_eq!((&told["type"], &told["source"]), (&json!("connection:expiring"), &json!("edge")));
    let mut token = browser.token.clone();
    let mut expiries = vec![told["payload"]["expires_at"].clone()];
    // Longer than the first token lives.
    while expiries.len() < 5 {
        let (later, expires_at) = eventually("a later expiry", async || {
            let answer = edge.request("POST", "/auth/refresh", &[("Cookie", &cookie(&token))]).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let expires_at = answer.json()["expires_at"].clone();
            (expires_at != expiries[expiries.len() - 1]).then(|| (answer.cookie().expect("a cookie").0, expires_at))
        })
        .await;
        token = later;
        expiries.push(expires_at);
    }
    browser.say("still here").await;
    assert_eq!(link.text().await, "still here");
    assert_eq!(browser.closed().await.0, 4001, "without a refresh");
}

/// Asks the edge, as the broker does when a client sends `connection:refresh`, and returns the
/// edge's answer to the client.
async fn refreshed(link: &mut BrokerLink, browser: &mut crate::browser::Browser, token: &str) -> Value {
    let ask = ToEdge::Refresh { id: Some("r1".into()), token: Secret::new(token) };
    link.send(Message::binary(ask.encode())).await;
    let answer = browser.envelope().await;
    assert_eq!((&answer["correlation_id"], &answer["source"]), (&json!("r1"), &json!("edge")));
    answer
}

#[actix_web::test]
async fn later_credentials_on_the_open_socket_are_judged_by_the_edge() {
    let (mut broker, edge) = edge_and_broker(|_| ()).await;
    let first = token_for("ann", HOUR);
    let mut browser = edge.open_with("/ws", &[("authorization", &format!("Bearer {first}"))]).await;
    let mut link = broker.link().await;
    let answer = refreshed(&mut link, &mut browser, &token_for("ann", 2 * HOUR)).await;
    assert_eq!(answer["type"], "connection:refreshed");
    assert!(answer["payload"]["expires_at"].is_string());
    let (_, anonymous) = edge.session().await;
    let expired = token_of("ann", "bridge", SECRET, HOUR, SystemTime::now() - 2 * HOUR);
    for (token, code) in [(token_for("bob", HOUR), "forbidden"), (anonymous, "forbidden"), (expired, "token_expired")] {
        let answer = refreshed(&mut link, &mut browser, &token).await;
        assert_eq!((&answer["type"], &answer["payload"]["code"]), (&json!("system:error"), &json!(code)));
    }
    browser.say("still here").await;
    assert_eq!(link.text().await, "still here");
}

#[actix_web::test]
async fn signatures_that_are_checked_for_an_open_socket_are_paid_for_as_over_http() {
    let (mut broker, edge) = edge_and_broker(|settings| {
        settings.limits.exempt_networks = Vec::new();
        settings.rates.checks = common::rate::Rate::new(1, 3);
    })
    .await;
    let first = token_for("ann", HOUR);
    let mut browser = edge.open_with("/ws", &[("authorization", &format!("Bearer {first}"))]).await;
    let mut link = broker.link().await;
    let mut codes = Vec::new();
    for number in 1..20 {
        let answer = refreshed(&mut link, &mut browser, &token_for("ann", HOUR + number * Duration::from_secs(1))).await;
        codes.push(answer["payload"]["code"].as_str().unwrap_or("good").to_owned());
    }
    assert_eq!(codes[0], "good", "{codes:?}");
    assert!(codes.contains(&"rate_limited".to_owned()), "{codes:?}");
    // A token that was not checked changes nothing for the socket.
    browser.say("still here").await;
    assert_eq!(link.text().await, "still here");
}

#[actix_web::test]
async fn forged_tokens_on_an_open_socket_cost_their_address_a_wait() {
    let (mut broker, edge) = edge_and_broker(|settings| {
        settings.limits.exempt_networks = Vec::new();
        settings.limits.free_failures = 1;
    })
    .await;
    let first = token_for("ann", HOUR);
    let mut browser = edge.open_with("/ws", &[("authorization", &format!("Bearer {first}"))]).await;
    let mut link = broker.link().await;
    let forged = token_of("ann", "bridge", "another-secret-of-at-least-32-bytes!", HOUR, SystemTime::now());
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(refreshed(&mut link, &mut browser, &forged).await["payload"]["code"].clone());
    }
    assert_eq!(codes[0], "token_signature_wrong");
    assert!(codes.contains(&json!("too_many_failures")), "{codes:?}");
    let good = refreshed(&mut link, &mut browser, &token_for("ann", 2 * HOUR)).await;
    assert_eq!(good["type"], "connection:refreshed", "good credentials do not wait");
}

#[actix_web::test]
async fn the_broker_is_told_what_later_credentials_carry() {
    let (mut broker, edge) = edge_and_broker(|_| ()).await;
    let first = token_for("ann", HOUR);
    let mut browser = edge.open_with("/ws", &[("authorization", &format!("Bearer {first}"))]).await;
    let mut link = broker.link().await;
    let now = SystemTime::now();
    let later = token_with(&json!({"iat": seconds(now), "exp": seconds(now + 2 * HOUR), "scope": "read write"}));
    for token in [&later, &later] {
        assert_eq!(refreshed(&mut link, &mut browser, token).await["type"], "connection:refreshed");
    }
    browser.say("after it").await;
    let told: Value = serde_json::from_str(&link.text().await).expect("JSON");
    assert_eq!(told["type"], "connection:identify");
    let assertion = told["payload"]["assertion"].as_str().expect("an assertion");
    let logged_in = assertion::verify_login(assertion, &edge.settings.broker.bridge_secret).expect("valid");
    assert_eq!((logged_in.login.user.as_str(), logged_in.login.wallet), ("ann", None));
    assert_eq!(Vec::from_iter(logged_in.login.scopes), ["read", "write"]);
    assert_eq!(link.text().await, "after it", "and told once");
}

#[actix_web::test]
async fn credentials_that_let_a_session_do_less_end_what_it_has_begun() {
    let (mut broker, edge) = edge_and_broker(|_| ()).await;
    let now = SystemTime::now();
    let token =
        |hours: u32, scope: &str| token_with(&json!({"iat": seconds(now), "exp": seconds(now + hours * HOUR), "scope": scope}));
    let first = token(1, "bridge:send bridge:subscribe");
    let mut browser = edge.open_with("/ws", &[("authorization", &format!("Bearer {first}"))]).await;
    let mut link = broker.link().await;
    assert_eq!(refreshed(&mut link, &mut browser, &token(2, "openid")).await["type"], "connection:refreshed", "that is more");
    assert_eq!(refreshed(&mut link, &mut browser, &token(3, "bridge:send")).await["type"], "connection:refreshed");
    assert_eq!(browser.closed().await.0, 4001);
}

#[actix_web::test]
async fn a_session_cannot_be_logged_in_by_refreshing_it() {
    let (mut broker, edge) = edge_and_broker(|_| ()).await;
    let mut browser = edge.browser().await;
    let mut link = broker.link().await;
    let answer = refreshed(&mut link, &mut browser, &token_for("ann", HOUR)).await;
    assert_eq!(answer["payload"]["code"], "forbidden");
    let own = browser.token.clone();
    let answer = refreshed(&mut link, &mut browser, &own).await;
    assert_eq!(answer["type"], "connection:refreshed");
}
