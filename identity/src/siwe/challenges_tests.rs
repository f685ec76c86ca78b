use std::{
    collections::BTreeSet,
    future::{Future, ready},
    pin::Pin,
    time::{Duration, UNIX_EPOCH},
};

use futures_util::FutureExt;
use k256::ecdsa::SigningKey;
use proptest::prelude::*;

use super::*;
use crate::{
    encoding::to_hex,
    siwe::{ContractAnswer, RpcFault},
};

const ADDRESS: &str = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"; // of the private key 1
const NOW: SystemTime = UNIX_EPOCH;

fn at(seconds: u64) -> SystemTime {
    NOW + Duration::from_secs(1_800_000_000 + seconds)
}

fn settings() -> SiweSettings {
    let mut settings = SiweSettings::new("app.example", "https://app.example/login");
    settings.chains = BTreeSet::from([1, 10]);
    settings
}

fn sign(text: &str) -> String {
    let mut key = [0; 32];
    key[31] = 1;
    let (signature, recovery) = SigningKey::from_slice(&key).unwrap().sign_prehash_recoverable(&personal_hash(text));
    format!("0x{}{:02x}", to_hex(&signature.to_bytes()), 27 + recovery.to_byte())
}

#[test]
fn a_signed_challenge_proves_the_wallet_once() {
    let mut table = Challenges::new(settings());
    let session = SessionId::fresh();
    let text = table.challenge(session, &ADDRESS.to_ascii_lowercase(), 10, at(0)).unwrap();
    let wallet = Wallet { address: Address::parse(ADDRESS).unwrap(), chain: 10, kind: WalletKind::Key };
    assert_eq!(table.verify(session, &text, &sign(&text), at(60)), Ok(WalletProof::Proved(wallet)));
    assert_eq!(wallet.user_id().unwrap().as_str(), format!("wallet:{ADDRESS}"));
    assert_eq!(table.verify(session, &text, &sign(&text), at(61)), Err(SiweError::NonceUsed));
}

#[test]
fn another_session_neither_answers_nor_uses_up_a_challenge() {
    let mut table = Challenges::new(settings());
    let (session, thief) = (SessionId::fresh(), SessionId::fresh());
    let text = table.challenge(session, ADDRESS, 1, at(0)).unwrap();
    assert_eq!(table.verify(thief, &text, &sign(&text), at(1)), Err(SiweError::NonceOfAnother));
    assert!(table.verify(session, &text, &sign(&text), at(1)).is_ok());
}

#[test]
fn a_wrong_signature_uses_the_challenge_up() {
    let mut table = Challenges::new(settings());
    let session = SessionId::fresh();
    let text = table.challenge(session, ADDRESS, 1, at(0)).unwrap();
    assert_eq!(table.verify(session, &text, &sign("something else"), at(1)), Err(SiweError::WrongSigner));
    assert_eq!(table.verify(session, &text, &sign(&text), at(1)), Err(SiweError::NonceUsed));
}

#[test]
fn a_challenge_is_good_until_its_expiration_time_and_not_a_moment_longer() {
    for (seconds, expected) in [(299, true), (300, false), (310, false), (100_000, false)] {
        let mut table = Challenges::new(settings());
        let session = SessionId::fresh();
        let text = table.challenge(session, ADDRESS, 1, at(0)).unwrap();
        let verdict = table.verify(session, &text, &sign(&text), at(seconds));
        assert_eq!(verdict.is_ok(), expected, "{seconds}: {verdict:?}");
        if !expected {
            assert_eq!(verdict, Err(SiweError::Expired));
        }
    }
}

#[test]
fn a_clock_that_was_set_back_is_told_apart() {
    let mut table = Challenges::new(settings());
    let session = SessionId::fresh();
    let text = table.challenge(session, ADDRESS, 1, at(1)).unwrap();
    assert_eq!(table.verify(session, &text, &sign(&text), at(0)), Err(SiweError::IssuedInFuture));
}

#[test]
fn addresses_and_chains_are_judged_when_asked_for() {
    let mut table = Challenges::new(settings());
    let session = SessionId::fresh();
    assert_eq!(table.challenge(session, "0x1", 1, at(0)), Err(SiweError::AddressMalformed));
    assert_eq!(table.challenge(session, &ADDRESS.replace('E', "e"), 1, at(0)), Err(SiweError::AddressChecksum));
    assert_eq!(table.challenge(session, ADDRESS, 5, at(0)), Err(SiweError::ChainNotAllowed));
    assert!(table.is_empty());
}

#[test]
fn without_randomness_there_are_no_challenges() {
    let mut table = Challenges::with_nonces(settings(), Box::new(|| None));
    assert_eq!(table.challenge(SessionId::fresh(), ADDRESS, 1, at(0)), Err(SiweError::Unavailable));
    let mut table = Challenges::with_nonces(settings(), Box::new(|| Some("sameNonce".into())));
    assert!(table.challenge(SessionId::fresh(), ADDRESS, 1, at(0)).is_ok());
    assert_eq!(table.challenge(SessionId::fresh(), ADDRESS, 1, at(0)), Err(SiweError::Unavailable));
}

#[test]
fn the_oldest_is_removed_at_both_bounds() {
    let mut settings = settings();
    (settings.max_challenges, settings.max_per_session) = (5, 2);
    let mut table = Challenges::new(settings);
    let session = SessionId::fresh();
    let texts: Vec<_> = (0..3).map(|_| table.challenge(session, ADDRESS, 1, at(0)).unwrap()).collect();
    assert_eq!(table.verify(session, &texts[0], &sign(&texts[0]), at(1)), Err(SiweError::NonceUnknown));
    for _ in 0..4 {
        table.challenge(SessionId::fresh(), ADDRESS, 1, at(1)).unwrap();
    }
    assert_eq!((table.len(), table.order.len(), table.of_session.len()), (5, 5, 5));
    assert_eq!(table.verify(session, &texts[1], &sign(&texts[1]), at(1)), Err(SiweError::NonceUnknown));
    assert!(table.verify(session, &texts[2], &sign(&texts[2]), at(1)).is_ok());
    table.challenge(SessionId::fresh(), ADDRESS, 1, at(1000)).unwrap();
    assert_eq!(table.len(), 1, "the expired ones are gone");
}

struct Node(Result<ContractAnswer, RpcFault>);

impl EthCall for Node {
    fn eth_call<'a>(&'a self, _: &'a ContractQuestion) -> Pin<Box<dyn Future<Output = Result<ContractAnswer, RpcFault>> + 'a>> {
        Box::pin(ready(self.0.clone()))
    }
}

#[test]
fn a_contract_is_asked_where_a_node_is_configured() {
    let mut settings = settings();
    settings.contract_chains = BTreeSet::from([10]);
    let mut yes = vec![0; 32];
    yes[..4].copy_from_slice(&[0x16, 0x26, 0xba, 0x7e]);
    let contract = "0x00000000000000000000000000000000000000AA";
    for (answer, expected) in [
        (Ok(ContractAnswer::Returned(yes)), Ok(WalletKind::Contract)),
        (Ok(ContractAnswer::Returned(vec![0; 32])), Err(SiweError::ContractRefused)),
        (Ok(ContractAnswer::Reverted), Err(SiweError::ContractRefused)),
        (Ok(ContractAnswer::Returned(vec![])), Err(SiweError::SignatureLength)),
        (Err(RpcFault), Err(SiweError::ContractUnavailable)),
    ] {
        let mut table = Challenges::new(settings.clone());
        let session = SessionId::fresh();
        let text = table.challenge(session, &contract.to_ascii_lowercase(), 10, at(0)).unwrap();
        let verdict = table.verify(session, &text, "0x0102", at(0)).unwrap();
        assert!(matches!(&verdict, WalletProof::AskContract { question, .. } if question.chain == 10));
        let settled = verdict.settle(&Node(answer)).now_or_never().unwrap();
        assert_eq!(settled.map(|wallet| wallet.kind), expected);
        if let Ok(wallet) = settled {
            assert!(wallet.user_id().unwrap().as_str().starts_with("wallet:10:0x"));
        }
    }
    let mut table = Challenges::new(settings);
    let session = SessionId::fresh();
    let text = table.challenge(session, ADDRESS, 1, at(0)).unwrap();
    assert_eq!(table.verify(session, &text, "0x0102", at(0)), Err(SiweError::SignatureLength), "no node for chain 1");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_changed_byte_of_a_signed_challenge_passes(place in any::<prop::sample::Index>(), byte in 0x20_u8..0x7f) {
        let mut table = Challenges::new(settings());
        let session = SessionId::fresh();
        let text = table.challenge(session, ADDRESS, 1, at(0)).unwrap();
        let mut changed = text.clone().into_bytes();
        let place = place.index(changed.len());
        prop_assume!(changed[place] != byte);
        changed[place] = byte;
        let changed = String::from_utf8(changed).unwrap();
        // Signed again by the right wallet: a changed text must be refused by itself.
        prop_assert!(table.verify(session, &changed, &sign(&changed), at(0)).is_err());
    }

    #[test]
    fn the_table_never_outgrows_its_bounds(steps in prop::collection::vec((0_u64..6, 0_u64..400), 1..80)) {
        let mut settings = settings();
        (settings.max_challenges, settings.max_per_session) = (8, 3);
        let mut table = Challenges::new(settings);
        let sessions: Vec<_> = (0..6).map(|_| SessionId::fresh()).collect();
        let mut now = 0;
        for (session, wait) in steps {
            now += wait;
            table.challenge(sessions[session as usize], ADDRESS, 1, at(now)).unwrap();
            prop_assert!(table.len() <= 8);
            prop_assert!(table.of_session.values().all(|numbers| !numbers.is_empty() && numbers.len() <= 3));
            prop_assert_eq!(table.len(), table.order.len());
            prop_assert_eq!(table.len(), table.of_session.values().map(VecDeque::len).sum::<usize>());
        }
    }
}
