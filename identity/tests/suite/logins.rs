//! Logins signed by viem, ethers and siwe (`tests/clients/node/wallet` makes the fixture), and what
//! attackers make from them.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common::id::SessionId;
use identity::{
    Refusal,
    siwe::{Challenges, Message, SiweSettings, WalletProof},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    settings: Settings,
    now_ms: u64,
    own: Asker,
    other: Asker,
    good: Vec<Good>,
    tampered: Vec<Tampered>,
}

#[derive(Deserialize)]
struct Settings {
    domain: String,
    uri: String,
    statement: String,
    chains: Vec<u64>,
    lifetime_ms: u64,
}

#[derive(Deserialize)]
struct Asker {
    nonce: String,
    address: String,
}

#[derive(Deserialize)]
struct Good {
    name: String,
    chain: u64,
    message: String,
    signature: String,
}

#[derive(Deserialize)]
struct Tampered {
    name: String,
    siwe_parses: bool,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    session: String,
    message: String,
    signature: String,
    at_ms: u64,
    code: Option<String>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/logins.json")).expect("the fixture is well formed")
}

fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

impl Fixture {
    fn table(&self) -> Challenges {
        let mut settings = SiweSettings::new(&self.settings.domain, &self.settings.uri);
        settings.statement = Some(self.settings.statement.clone());
        settings.chains = self.settings.chains.iter().copied().collect();
        settings.lifetime = Duration::from_millis(self.settings.lifetime_ms);
        assert_eq!(settings.faults(), []);
        let mut nonces = vec![self.other.nonce.clone(), self.own.nonce.clone()];
        Challenges::with_nonces(settings, Box::new(move || nonces.pop()))
    }
}

#[test]
fn signatures_of_real_wallets_log_in_and_cover_our_text() {
    let fixture = fixture();
    for good in &fixture.good {
        let mut table = fixture.table();
        let session = SessionId::fresh();
        let text = table.challenge(session, &fixture.own.address, good.chain, at(fixture.now_ms)).expect("challenge");
        assert_eq!(text, good.message, "{}: the text", good.name);
        let verdict = table.verify(session, &good.message, &good.signature, at(fixture.now_ms + 1000));
        let Ok(WalletProof::Proved(wallet)) = verdict else { panic!("{}: {verdict:?}", good.name) };
        assert_eq!((wallet.address.to_string(), wallet.chain), (fixture.own.address.clone(), good.chain), "{}", good.name);
    }
}

#[test]
fn every_tampered_login_is_refused_with_its_own_code() {
    let fixture = fixture();
    let mut codes = HashSet::new();
    for case in &fixture.tampered {
        let mut table = fixture.table();
        let (own, other) = (SessionId::fresh(), SessionId::fresh());
        let now = at(fixture.now_ms);
        table.challenge(own, &fixture.own.address, 1, now).expect("challenge");
        table.challenge(other, &fixture.other.address, 1, now).expect("challenge");
        for (number, step) in case.steps.iter().enumerate() {
            let session = if step.session == "own" { own } else { other };
            let verdict = table.verify(session, &step.message, &step.signature, at(step.at_ms));
            let code = verdict.as_ref().err().map(|error| error.code().as_str().to_owned());
            assert_eq!(code, step.code, "{}, step {number}: {verdict:?}", case.name);
            codes.extend(code);
        }
    }
    let count = fixture.tampered.len();
    assert!(count >= 80 && codes.len() >= 30, "{count} variants, {} codes", codes.len());
}

#[test]
fn our_parser_and_that_of_siwe_agree() {
    for case in fixture().tampered {
        for step in case.steps {
            // Only our parser bounds the length.
            let ours = Message::parse(&step.message).is_ok() || step.message.len() > 4096;
            assert_eq!(ours, case.siwe_parses, "{}", case.name);
        }
    }
}
