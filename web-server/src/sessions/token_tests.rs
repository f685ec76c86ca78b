use serde_json::json;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const NOW: u64 = 1_800_000_000;

fn at(seconds: u64) -> SystemTime {
    from_unix_seconds(seconds)
}

fn keys() -> TokenKeys {
    TokenKeys::new(&Secret::new("a secret"), HOUR)
}

#[test]
fn a_token_names_its_session_until_it_expires() {
    let before = Session::anonymous(SessionId::fresh(), at(NOW - 5), at(NOW - 5), at(NOW));
    let (session, token) = keys().sign(&before, at(NOW)).expect("signs");
    assert_eq!(keys().verify(&token, at(NOW)), Ok(session.clone()));
    assert_eq!((session.id, session.created_at, session.expires_at), (before.id, at(NOW - 5), at(NOW) + HOUR));
    assert_eq!(keys().verify(&token, at(NOW + 3599)), Ok(session));
    assert_eq!(keys().verify(&token, at(NOW + 3600)), Err(TokenFault::Expired));
}

#[test]
fn another_secret_or_a_changed_token_is_refused() {
    let (_, token) = keys().register(at(NOW)).expect("signs");
    let other = TokenKeys::new(&Secret::new("another secret"), HOUR);
    assert_eq!(other.verify(&token, at(NOW)), Err(TokenFault::Invalid));
    let mut changed = token.into_bytes();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    assert_eq!(keys().verify(&String::from_utf8_lossy(&changed), at(NOW)), Err(TokenFault::Invalid));
    for rubbish in ["", "a.b.c", &"x".repeat(2000)] {
        assert_eq!(keys().verify(rubbish, at(NOW)), Err(TokenFault::Invalid));
    }
}

#[test]
fn every_claim_counts() {
    let good = json!({
        "iss": "edge", "aud": "edge-session", "sub": SessionId::fresh(), "iat": NOW, "exp": NOW + 60,
        "jti": Uuid::new_v4(), "created": NOW,
    });
    let sign = |claims: &serde_json::Value, algorithm| {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(b"a secret")).expect("signs")
    };
    let verify = |claims: &serde_json::Value| keys().verify(&sign(claims, Algorithm::HS256), at(NOW));
    assert!(verify(&good).is_ok());
    assert_eq!(keys().verify(&sign(&good, Algorithm::HS512), at(NOW)), Err(TokenFault::Invalid));
    for claim in ["iss", "aud", "sub", "iat", "exp", "jti", "created"] {
        let mut claims = good.clone();
        claims.as_object_mut().expect("object").remove(claim);
        assert_eq!(verify(&claims), Err(TokenFault::Invalid), "without {claim}");
    }
    for (claim, wrong) in [
        ("iss", json!("bridge")),
        ("aud", json!("broker")),
        ("sub", json!("me")),
        ("iat", json!(NOW + 61)),
        ("exp", json!(NOW)),
        ("jti", json!("1")),
        ("created", json!(NOW + 1)),
    ] {
        let mut claims = good.clone();
        claims[claim] = wrong;
        assert_eq!(verify(&claims), Err(TokenFault::Invalid), "wrong {claim}");
    }
}

#[test]
fn a_token_without_signature_is_refused() {
    // {"alg":"none","typ":"JWT"}
    let (_, token) = keys().register(at(NOW)).expect("signs");
    let claims = token.split('.').nth(1).expect("three parts");
    assert_eq!(keys().verify(&format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}."), at(NOW)), Err(TokenFault::Invalid));
}

#[test]
fn a_login_is_in_the_token_and_the_token_does_not_outlive_it() {
    let (anonymous, _) = keys().register(at(NOW)).expect("signs");
    let login = Login { user: "ann".parse().expect("a name"), wallet: Some("0x1".into()), scopes: ["read".to_owned()].into() };
    let logged_in = |until| Session {
        generation: 1,
        login: Some(Arc::new(SessionLogin { login: login.clone(), until })),
        ..anonymous.clone()
    };
    let (session, token) = keys().sign(&logged_in(None), at(NOW)).expect("signs");
    assert_eq!(keys().verify(&token, at(NOW)), Ok(session.clone()));
    assert_eq!((session.login(), session.generation, session.expires_at), (Some(&login), 1, at(NOW) + HOUR));
    let (session, token) = keys().sign(&logged_in(Some(at(NOW + 10))), at(NOW)).expect("signs");
    assert_eq!(session.expires_at, at(NOW + 10));
    assert_eq!(keys().verify(&token, at(NOW + 10)), Err(TokenFault::Expired));
    assert_eq!(keys().sign(&session, at(NOW + 10)).err(), Some(TokenFault::Expired));
}

#[test]
fn a_login_that_carries_more_than_a_cookie_holds_is_refused() {
    let (anonymous, _) = keys().register(at(NOW)).expect("signs");
    let scopes = (0..300).map(|number| format!("a-scope-{number}")).collect();
    let login = Login { user: "ann".parse().expect("a name"), wallet: None, scopes };
    let login = Some(Arc::new(SessionLogin { login, until: None }));
    assert_eq!(keys().sign(&Session { login, ..anonymous }, at(NOW)).err(), Some(TokenFault::TooLong));
}
