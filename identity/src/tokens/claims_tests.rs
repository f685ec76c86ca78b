use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::tokens::ClaimPath;

const NOW: u64 = 1_800_000_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn settings() -> IssuerSettings {
    IssuerSettings::new("test", "https://issuer.example", "bridge")
}

fn judge_with(settings: &IssuerSettings, changes: Value) -> Result<TokenIdentity, TokenError> {
    let mut claims = json!({"aud": "bridge", "sub": "ann", "exp": NOW + 60, "iat": NOW});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    identity(claims.as_object().unwrap(), settings, at(NOW))
}

fn judge(changes: Value) -> Result<TokenIdentity, TokenError> {
    judge_with(&settings(), changes)
}

#[test]
fn audiences_are_texts_or_lists_and_one_must_be_ours() {
    for good in [json!("bridge"), json!(["other", "bridge"])] {
        assert!(judge(json!({"aud": good})).is_ok());
    }
    for bad in [
        json!("Bridge"),
        json!("bridge2"),
        json!([]),
        json!([["bridge"]]),
        json!(["other"]),
        json!(1),
        json!({"bridge": 1}),
        json!(null),
    ] {
        assert_eq!(judge(json!({"aud": bad})), Err(TokenError::AudienceWrong));
    }
    assert_eq!(identity(&Map::new(), &settings(), at(NOW)), Err(TokenError::ClaimMissing));
}

#[test]
fn expiry_is_whole_or_fractional_and_has_a_leeway() {
    let whole = judge(json!({"exp": NOW})).map(|identity| identity.expires_at);
    let leeway = settings().leeway;
    assert_eq!(whole, Ok(at(NOW) + leeway));
    let fractional = judge(json!({"exp": NOW as f64 + 0.5})).map(|identity| identity.expires_at);
    assert_eq!(fractional, Ok(at(NOW) + leeway + Duration::from_millis(500)));
    assert!(judge(json!({"exp": NOW - 59})).is_ok());
    assert!(judge(json!({"exp": NOW as f64 - 59.5})).is_ok());
    assert_eq!(judge(json!({"exp": NOW - 60})), Err(TokenError::Expired));
    assert_eq!(judge(json!({"exp": NOW as f64 - 60.5})), Err(TokenError::Expired));
    assert_eq!(judge(json!({"exp": 0})), Err(TokenError::Expired));
    for bad in [json!("1900000000"), json!(true), json!(-1), json!(1e300), json!(u64::MAX), json!(null), json!([NOW])] {
        assert_eq!(judge(json!({"exp": bad})), Err(TokenError::ClaimInvalid), "{bad}");
    }
}

#[test]
fn tokens_of_the_future_are_refused() {
    assert!(judge(json!({"nbf": NOW + 60})).is_ok());
    assert_eq!(judge(json!({"nbf": NOW + 61})), Err(TokenError::NotYetValid));
    assert_eq!(judge(json!({"nbf": NOW as f64 + 60.1})), Err(TokenError::NotYetValid));
    assert!(judge(json!({"iat": NOW + 60})).is_ok());
    assert_eq!(judge(json!({"iat": NOW + 61})), Err(TokenError::IssuedInFuture));
    assert_eq!(judge(json!({"nbf": "soon"})), Err(TokenError::ClaimInvalid));
}

#[test]
fn users_have_the_issuers_prefix_and_are_escaped() {
    let mut settings = settings();
    let user = |settings: &_, sub: Value| judge_with(settings, json!({"sub": sub})).map(|identity| identity.user.to_string());
    assert_eq!(user(&settings, json!("auth0|5f")), Ok("auth0+7C5f".into()));
    settings.claims.user_prefix = "acme:".into();
    assert_eq!(user(&settings, json!("ann")), Ok("acme:ann".into()));
    assert_eq!(user(&settings, json!("x".repeat(500))).map(|user| user.len()), Ok("acme:+h".len() + 32));
    for (bad, error) in
        [(json!(null), TokenError::ClaimMissing), (json!(""), TokenError::ClaimInvalid), (json!(7), TokenError::ClaimInvalid)]
    {
        assert_eq!(user(&settings, bad), Err(error));
    }
    settings.claims.user_prefix = String::new();
    assert_eq!(user(&settings, json!("wallet:0x1")), Err(TokenError::ClaimInvalid), "a wallet's user");
}

#[test]
fn claims_are_found_where_the_map_says() {
    let mut settings = settings();
    settings.claims = ClaimsMap {
        user: "/user/id".parse().unwrap(),
        user_prefix: String::new(),
        wallet: Some("https://app.example/wallet".parse().unwrap()),
        scopes: ["scope", "/realm_access/roles", "/https:~1~1app.example~1roles/0"].map(|path| path.parse().unwrap()).into(),
    };
    let identity = judge_with(
        &settings,
        json!({
            "user": {"id": "ann"},
            "https://app.example/wallet": "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
            "scope": "read  write",
            "realm_access": {"roles": ["admin", "write"]},
            "https://app.example/roles": ["first", "second"],
            "jti": "t-1",
        }),
    )
    .unwrap();
    assert_eq!(identity.user.as_str(), "ann");
    assert_eq!(identity.wallet.unwrap().to_string(), "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed");
    assert_eq!(identity.scopes.iter().map(String::as_str).collect::<Vec<_>>(), ["admin", "first", "read", "write"]);
    assert_eq!(judge_with(&settings, json!({"user": {"id": "ann"}, "scope": 7})), Err(TokenError::ClaimInvalid));
    assert_eq!(judge_with(&settings, json!({"user": {"id": "ann"}, "scope": [7]})), Err(TokenError::ClaimInvalid));
    let wrong_wallet = json!({"user": {"id": "ann"}, "https://app.example/wallet": "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"});
    assert_eq!(judge_with(&settings, wrong_wallet), Err(TokenError::ClaimInvalid));
    for path in ["", "/"] {
        assert!(path.parse::<ClaimPath>().is_err());
    }
}

proptest! {
    #[test]
    fn no_number_makes_it_panic(number in any::<f64>(), other in any::<i64>()) {
        let _ = judge(json!({"exp": number, "nbf": other}));
        let _ = judge(json!({"exp": other, "iat": number}));
    }

    #[test]
    fn no_path_makes_it_panic(path in "/?[a/~01]{0,8}") {
        if let Ok(path) = path.parse::<ClaimPath>() {
            let claims = json!({"a": {"a": [1, {"a": 2}], "": 3}, "~": 1, "/": {"0": 1}});
            let claims = claims.as_object().unwrap();
            // As serde_json has it.
            if let ClaimPath::Pointer(pointer) = &path {
                let whole = Value::Object(claims.clone());
                prop_assert_eq!(path.find(claims), whole.pointer(pointer).filter(|value| !value.is_null()));
            }
        }
    }
}
