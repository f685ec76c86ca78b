//! Tokens of issuers.

use std::{
    future::{Future, ready},
    pin::{Pin, pin},
    sync::LazyLock,
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common::secret::Secret;
use identity::tokens::{
    Algorithm, IssuerSettings, KeyRing, KeyRingSettings, KeySource, KeySourceFault, Outcome, TokenVerifier, Trust, inspect,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    now: u64,
    issuer: String,
    audience: String,
    secret: String,
    jwks: serde_json::Value,
    good: Vec<Token>,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

struct Published(Vec<u8>);

impl KeySource for Published {
    fn fetch(&self) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, KeySourceFault>> + Send>> {
        Box::pin(ready(Ok(self.0.clone())))
    }
}

struct Bench {
    now: SystemTime,
    good: Vec<String>,
    by_secret: TokenVerifier,
    by_keys: TokenVerifier,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let text = include_str!("../../identity/tests/fixtures/tokens_jose.json");
    let fixture: Fixture = serde_json::from_str(text).expect("the fixture");
    let verifier = |trust, algorithms: &[Algorithm]| {
        let settings = IssuerSettings {
            algorithms: algorithms.to_vec(),
            ..IssuerSettings::new("issuer", &fixture.issuer, &fixture.audience)
        };
        TokenVerifier::new(vec![(settings, trust)]).expect("good settings")
    };
    let keys = Published(fixture.jwks.to_string().into_bytes());
    let (hashes, curves): (Vec<_>, Vec<_>) = Algorithm::ALL.iter().partition(|algorithm| algorithm.is_symmetric());
    Bench {
        now: UNIX_EPOCH + Duration::from_secs(fixture.now),
        by_secret: verifier(Trust::Secret(Secret::new(&fixture.secret)), &hashes),
        by_keys: verifier(
            Trust::Keys(Box::new(KeyRing::new(Box::new(keys), KeyRingSettings::default(), Box::new(drop)))),
            &curves,
        ),
        good: fixture.good.into_iter().map(|good| good.token).collect(),
    }
});

/// Nothing is a good token but what the issuer has signed, to the last byte; and anything can be
/// looked at.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Bench { now, good, by_secret, by_keys } = &*BENCH;
    for verifier in [by_secret, by_keys] {
        if at_once(verifier.verify(text, *now)).is_ok() {
            assert!(good.iter().any(|good| good == text), "nobody has signed this");
        }
    }
    if let Ok(inspection) = inspect(text, Outcome::NotVerified, true, *now) {
        let shown = inspection.to_string();
        assert!(shown.contains("NOT VERIFIED"));
        assert!(!shown.chars().any(|character| character.is_control() && character != '\n'));
    }
}

/// The keys are at hand, so nothing is waited for.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing is waited for"),
    }
}
