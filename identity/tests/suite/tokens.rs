//! Tokens made by PyJWT and jose with every algorithm, and what attackers make from them.
//!
//! `identity/tests/fixtures/make_tokens.py` and `tests/clients/node/wallet` make the fixtures.

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common::secret::Secret;
use futures_util::FutureExt;
use identity::{
    Refusal,
    tokens::{Algorithm, IssuerSettings, KeyRing, KeyRingSettings, KeySource, KeySourceFault, TokenVerifier, Trust},
};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Fixture {
    now: u64,
    issuer: String,
    audience: String,
    secret: String,
    jwks: Value,
    good: Vec<Token>,
    forged: Vec<Token>,
}

#[derive(Deserialize)]
struct Token {
    name: String,
    trust: String,
    #[serde(default)]
    code: String,
    token: String,
}

/// A key set in memory.
struct AtHand(Vec<u8>);

impl KeySource for AtHand {
    fn fetch(&self) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, KeySourceFault>> + Send>> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }
}

fn fixtures() -> [(&'static str, Fixture); 2] {
    let read = |text| serde_json::from_str(text).expect("the fixture is well formed");
    [("PyJWT", read(include_str!("../fixtures/tokens_pyjwt.json"))), ("jose", read(include_str!("../fixtures/tokens_jose.json")))]
}

impl Fixture {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.now)
    }

    fn verifier(&self, trust: &str) -> TokenVerifier {
        let mut settings = IssuerSettings::new("issuer", &self.issuer, &self.audience);
        let is_secret = trust == "secret";
        settings.algorithms = Algorithm::ALL.iter().copied().filter(|it| it.is_symmetric() == is_secret).collect();
        let trust = if is_secret {
            Trust::Secret(Secret::new(&self.secret))
        } else {
            let source = AtHand(self.jwks.to_string().into_bytes());
            Trust::Keys(Box::new(KeyRing::new(Box::new(source), KeyRingSettings::default(), Box::new(drop))))
        };
        TokenVerifier::new(vec![(settings, trust)]).unwrap_or_else(|faults| panic!("{faults:?}"))
    }
}

#[test]
fn tokens_of_every_algorithm_are_accepted() {
    for (library, fixture) in fixtures() {
        let names: Vec<&str> = fixture.good.iter().map(|token| token.name.as_str()).collect();
        assert!(Algorithm::ALL.iter().all(|algorithm| names.contains(&algorithm.as_str())), "{library}: {names:?}");
        for token in &fixture.good {
            let verdict = fixture.verifier(&token.trust).verify(&token.token, fixture.now()).now_or_never().expect("at once");
            let identity = verdict.unwrap_or_else(|error| panic!("{library}, {}: {error}", token.name));
            assert_eq!(identity.user.as_str(), "ann", "{library}, {}", token.name);
            assert_eq!(identity.scopes.len(), 2, "{library}, {}", token.name);
        }
    }
}

#[test]
fn every_forged_token_is_refused_with_its_own_code() {
    let mut count = 0;
    for (library, fixture) in fixtures() {
        for token in &fixture.forged {
            let verdict = fixture.verifier(&token.trust).verify(&token.token, fixture.now()).now_or_never().expect("at once");
            let code = verdict.as_ref().err().map(|error| error.code().as_str());
            assert_eq!(code, Some(token.code.as_str()), "{library}, {}: {verdict:?}", token.name);
            count += 1;
        }
    }
    assert!(count >= 60, "{count}");
}

#[test]
fn by_default_only_the_usual_algorithms_are_accepted() {
    for (library, fixture) in fixtures() {
        let settings = IssuerSettings::new("issuer", &fixture.issuer, &fixture.audience);
        let source = AtHand(fixture.jwks.to_string().into_bytes());
        let ring = KeyRing::new(Box::new(source), KeyRingSettings::default(), Box::new(drop));
        let verifier =
            TokenVerifier::new(vec![(settings, Trust::Keys(Box::new(ring)))]).unwrap_or_else(|faults| panic!("{faults:?}"));
        for token in fixture.good.iter().filter(|token| token.name.parse::<Algorithm>().is_ok()) {
            let verdict = verifier.verify(&token.token, fixture.now()).now_or_never().expect("at once");
            let is_usual = ["RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"].contains(&token.name.as_str());
            assert_eq!(verdict.is_ok(), is_usual, "{library}, {}: {verdict:?}", token.name);
        }
    }
}
