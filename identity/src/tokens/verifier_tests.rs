use std::time::{Duration, UNIX_EPOCH};

use common::secret::Secret;
use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::tokens::{KeyRingSettings, MintClaims, MintKey, MintSettings, PublishedKeys, mint};

const SECRET: &str = "a test secret of at least 32 bytes";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn secret(text: &str) -> Trust {
    Trust::Secret(Secret::new(text))
}

fn token(issuer: &str, key: &str) -> Secret {
    let settings = MintSettings {
        key: MintKey::Secret(Secret::new(key)),
        algorithm: Algorithm::HS256,
        key_id: None,
        issuer: issuer.into(),
        audience: "bridge".into(),
        lifetime: Duration::from_secs(60),
    };
    mint(&settings, &MintClaims { subject: "ann".into(), ..MintClaims::default() }, at(1000)).unwrap()
}

fn issuer(name: &str, prefix: &str) -> IssuerSettings {
    let mut settings = IssuerSettings::new(name, format!("https://{name}.example"), "bridge");
    settings.claims.user_prefix = prefix.into();
    settings
}

#[test]
fn each_issuer_signs_for_itself_alone() {
    let other = "another secret of at least 32 bytes";
    let verifier =
        TokenVerifier::new(vec![(issuer("one", "one:"), secret(SECRET)), (issuer("two", "two:"), secret(other))]).unwrap();
    let verify =
        |name, key| verifier.verify(token(name, key).reveal(), at(1000)).now_or_never().unwrap().map(|it| it.user.to_string());
    assert_eq!(verify("https://one.example", SECRET), Ok("one:ann".into()));
    assert_eq!(verify("https://two.example", other), Ok("two:ann".into()));
    assert_eq!(verify("https://one.example", other), Err(TokenError::SignatureWrong));
    assert_eq!(verify("https://two.example", SECRET), Err(TokenError::SignatureWrong));
    assert_eq!(verify("https://one.example/", SECRET), Err(TokenError::IssuerUnknown));
}

#[test]
fn settings_that_would_let_strangers_in_are_refused() {
    let faults = |issuers| TokenVerifier::new(issuers).err().unwrap_or_default().len();
    assert_eq!(faults(vec![(issuer("one", ""), secret(SECRET))]), 0);
    assert_eq!(faults(vec![(issuer("one", ""), secret("short"))]), 1);
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----";
    assert_eq!(faults(vec![(issuer("one", ""), secret(pem))]), 1);
    assert_eq!(faults(vec![(issuer("one", ""), secret(r#"{"kty":"RSA","n":"xxxxxxxxxxxxxxxxxxxxxxxxx"}"#))]), 1);
    assert_eq!(faults(vec![(issuer("one", ""), secret(SECRET)), (issuer("two", "two:"), secret(SECRET))]), 1, "prefixes overlap");
    assert_eq!(faults(vec![(issuer("one", "1:"), secret(SECRET)), (issuer("one", "2:"), secret(SECRET))]), 1, "`iss` twice");
    assert_eq!(faults(vec![(issuer("one", "wallet:"), secret(SECRET))]), 1);
    assert_eq!(faults(vec![(issuer("one", "a b"), secret(SECRET))]), 1);
    let mut bad = issuer("one", "");
    (bad.issuers, bad.audiences, bad.leeway) = (vec![], vec![String::new()], Duration::from_secs(301));
    bad.algorithms = vec![Algorithm::RS256];
    assert_eq!(faults(vec![(bad, secret(SECRET))]), 4);
    let mut symmetric = issuer("one", "");
    symmetric.algorithms = vec![Algorithm::HS256];
    struct None;
    impl crate::tokens::KeySource for None {
        fn fetch(&self) -> std::pin::Pin<Box<dyn Future<Output = Result<Vec<u8>, KeySourceFault>> + Send>> {
            Box::pin(std::future::ready(Err(KeySourceFault("none".into()))))
        }
    }
    let ring = Box::new(KeyRing::new(Box::new(None), KeyRingSettings::default(), Box::new(drop)));
    assert_eq!(faults(vec![(symmetric, Trust::Keys(ring))]), 1);
    let ring = Box::new(KeyRing::new(Box::new(None), KeyRingSettings::default(), Box::new(drop)));
    let verifier = TokenVerifier::new(vec![(issuer("one", ""), Trust::Keys(ring))]).unwrap();
    assert_eq!(verifier.refresh(at(0)).now_or_never().unwrap().len(), 1);
    assert_eq!(
        verifier.verify(token("https://one.example", SECRET).reveal(), at(1000)).now_or_never().unwrap(),
        Err(TokenError::AlgorithmRefused)
    );
    assert!(PublishedKeys::parse(b"{}").is_err());
}

proptest! {
    #[test]
    fn no_changed_character_of_a_token_passes(place in any::<prop::sample::Index>(), byte in "[A-Za-z0-9_.-]") {
        let verifier = TokenVerifier::new(vec![(issuer("one", ""), secret(SECRET))]).unwrap();
        let token = token("https://one.example", SECRET);
        let mut changed = token.reveal().to_owned();
        let place = place.index(changed.len());
        changed.replace_range(place..=place, &byte);
        prop_assume!(changed != token.reveal());
        prop_assert!(verifier.verify(&changed, at(1000)).now_or_never().unwrap().is_err());
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,100}") {
        let verifier = TokenVerifier::new(vec![(issuer("one", ""), secret(SECRET))]).unwrap();
        prop_assert!(verifier.verify(&text, at(1000)).now_or_never().unwrap().is_err());
    }
}

#[test]
fn a_token_without_an_issuer_needs_the_secret_and_names_nobody_else() {
    use jsonwebtoken::{EncodingKey, Header, encode};
    let secret = "a-secret-of-at-least-32-bytes-for-tests";
    let sign = |claims: serde_json::Value, secret: &str| {
        encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let verify = |token: &str| super::verify_unissued(token, &Secret::new(secret), Duration::ZERO, now);
    let good = verify(&sign(serde_json::json!({"sub": "ann", "exp": 1_000.5}), secret)).unwrap().unwrap();
    assert_eq!((good.user.as_str(), good.issued_at), ("ann", None));
    let refused = |claims| verify(&sign(claims, secret)).unwrap().unwrap_err();
    assert_eq!(refused(serde_json::json!({"sub": "ann", "exp": 999.5})), TokenError::Expired);
    assert_eq!(refused(serde_json::json!({"sub": "ann"})), TokenError::ClaimMissing);
    assert_eq!(refused(serde_json::json!({"sub": "wallet:0x1", "exp": 2_000})), TokenError::ClaimInvalid);
    let other = sign(serde_json::json!({"sub": "ann", "exp": 2_000}), "another-secret-of-at-least-32-bytes-0");
    assert_eq!(verify(&other).unwrap().unwrap_err(), TokenError::SignatureWrong);
    for named in [serde_json::json!({"iss": "x"}), serde_json::json!({"aud": "x"})] {
        let mut claims = serde_json::json!({"sub": "ann", "exp": 2_000});
        claims.as_object_mut().unwrap().extend(named.as_object().unwrap().clone());
        assert!(verify(&sign(claims, secret)).is_none(), "it is for its issuer to judge");
    }
    assert!(super::verify_unissued("x.y.z", &Secret::new(secret), Duration::ZERO, now).is_none());
}
