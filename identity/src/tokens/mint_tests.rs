use futures_util::FutureExt;
use jsonwebtoken::{DecodingKey, crypto};

use super::*;
use crate::tokens::{ClaimPath, IssuerSettings, Outcome, TokenError, TokenVerifier, Trust, inspect};

const SECRET: &str = "a test secret of at least 32 bytes";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn settings(algorithm: Algorithm) -> MintSettings {
    MintSettings {
        key: MintKey::Secret(Secret::new(SECRET)),
        algorithm,
        key_id: None,
        issuer: "me".into(),
        audience: "bridge".into(),
        lifetime: Duration::from_secs(60),
    }
}

fn claims() -> MintClaims {
    let wallet = Address::parse("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed").ok();
    let email = Map::from_iter([("email".to_owned(), json!("ann@example.org"))]);
    MintClaims { subject: "ann".into(), wallet, scopes: vec!["read".into(), "write".into()], more: email }
}

#[test]
fn minted_tokens_are_verified() {
    let mut issuer = IssuerSettings::new("own", "me", "bridge");
    issuer.claims.wallet = Some(ClaimPath::Name("wallet".into()));
    issuer.algorithms = vec![Algorithm::HS256, Algorithm::HS512];
    let verifier = TokenVerifier::new(vec![(issuer, Trust::Secret(Secret::new(SECRET)))]).unwrap();
    for algorithm in [Algorithm::HS256, Algorithm::HS512] {
        let token = mint(&settings(algorithm), &claims(), at(1000)).unwrap();
        let identity = verifier.verify(token.reveal(), at(1000)).now_or_never().unwrap().unwrap();
        assert_eq!((identity.user.as_str(), identity.wallet, identity.scopes.len()), ("ann", claims().wallet, 2));
        assert_eq!((identity.issued_at, identity.expires_at), (Some(at(1000)), at(1120)));
        assert_eq!(verifier.verify(token.reveal(), at(1120)).now_or_never().unwrap(), Err(TokenError::Expired));
    }
    let token = mint(&settings(Algorithm::HS384), &claims(), at(1000)).unwrap();
    assert_eq!(verifier.verify(token.reveal(), at(1000)).now_or_never().unwrap(), Err(TokenError::AlgorithmRefused));
}

#[test]
fn invalid_claims_are_not_signed() {
    let with = |change: &dyn Fn(&mut MintSettings, &mut MintClaims)| {
        let (mut settings, mut claims) = (settings(Algorithm::HS256), claims());
        change(&mut settings, &mut claims);
        mint(&settings, &claims, at(1000)).err()
    };
    assert_eq!(with(&|_, _| ()), None);
    assert_eq!(with(&|it, _| it.algorithm = Algorithm::RS256), Some(MintError::WrongKind(Algorithm::RS256)));
    assert_eq!(with(&|it, _| it.key = MintKey::Pem(Secret::new("x"))), Some(MintError::WrongKind(Algorithm::HS256)));
    assert_eq!(with(&|it, _| it.key = MintKey::Secret(Secret::new("short"))), Some(MintError::ShortSecret));
    let pem = |it: &mut MintSettings| (it.key, it.algorithm) = (MintKey::Pem(Secret::new("x")), Algorithm::ES256);
    assert_eq!(with(&|it, _| pem(it)), Some(MintError::BadKey(Algorithm::ES256)));
    assert_eq!(with(&|it, _| it.lifetime = Duration::MAX), Some(MintError::BadTime));
    assert_eq!(with(&|_, it| it.subject.clear()), Some(MintError::NoSubject));
    assert_eq!(with(&|_, it| it.scopes.push("a b".into())), Some(MintError::BadScope("a b".into())));
    for name in ["exp", "iss", "nbf", "scope"] {
        assert_eq!(
            with(&|_, it| it.more = Map::from_iter([(name.to_owned(), json!(1))])),
            Some(MintError::Reserved(name.into()))
        );
    }
}

#[test]
fn private_keys_sign_too() {
    for (name, algorithm) in
        [("ed25519", Algorithm::EdDSA), ("p256", Algorithm::ES256), ("p384", Algorithm::ES384), ("rsa", Algorithm::PS256)]
    {
        let read = |kind: &str| {
            let path = format!("{}/tests/fixtures/keys/{name}.{kind}.pem", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(path).unwrap()
        };
        let mut settings = settings(algorithm);
        (settings.key, settings.key_id) = (MintKey::Pem(Secret::new(read("private"))), Some("k-1".into()));
        let token = mint(&settings, &claims(), at(1000)).unwrap();
        let public = read("public");
        let key = match algorithm {
            Algorithm::EdDSA => DecodingKey::from_ed_pem(public.as_bytes()),
            Algorithm::PS256 => DecodingKey::from_rsa_pem(public.as_bytes()),
            _ => DecodingKey::from_ec_pem(public.as_bytes()),
        };
        let (message, signature) = token.reveal().rsplit_once('.').unwrap();
        assert!(crypto::verify(signature, message.as_bytes(), &key.unwrap(), algorithm.inner()).unwrap(), "{name}");
        settings.algorithm = if algorithm == Algorithm::EdDSA { Algorithm::RS256 } else { Algorithm::EdDSA };
        assert!(mint(&settings, &claims(), at(1000)).is_err(), "{name} for another algorithm");
    }
}

#[test]
fn an_inspection_shows_no_signature_and_claims_no_more_than_is_known() {
    let token = mint(&settings(Algorithm::HS256), &claims(), at(1000)).unwrap();
    let signature = token.reveal().rsplit('.').next().unwrap();
    let shown = inspect(token.reveal(), Outcome::NotVerified, false, at(1030)).unwrap().to_string();
    assert!(shown.contains("NOT VERIFIED") && !shown.contains(" verified"), "{shown}");
    assert!(shown.contains("exp: 1060 (1970-01-01T00:17:40.000Z, in 30 s)"), "{shown}");
    assert!(shown.contains("email: [text of 15 characters]") && !shown.contains("ann"), "{shown}");
    assert!(!shown.contains(signature), "{shown}");
    let refused = inspect(token.reveal(), Outcome::Refused(TokenError::SignatureWrong), true, at(1030)).unwrap().to_string();
    assert!(refused.contains("REFUSED (token_signature_wrong)") && refused.contains("ann@example.org"), "{refused}");
    assert_eq!(inspect("a.b.c", Outcome::NotVerified, false, at(0)).err(), Some(TokenError::Malformed));
}

#[test]
fn an_inspection_cannot_move_the_cursor() {
    let mut claims = claims();
    claims.more = Map::from_iter([("x\u{1b}[2J\u{202e}".to_owned(), json!("\u{1b}[31m\u{9b}\u{2066}"))]);
    let token = mint(&settings(Algorithm::HS256), &claims, at(1000)).unwrap();
    let shown = inspect(token.reveal(), Outcome::NotVerified, true, at(1030)).unwrap().to_string();
    assert!(shown.chars().all(|it| it == '\n' || !it.is_control() && it != '\u{202e}' && it != '\u{2066}'), "{shown:?}");
}
