//! The JSON bodies of `/auth/*`, and what is made of them.

use std::time::{Duration, UNIX_EPOCH};

use common::id::SessionId;
use identity::siwe::{Address, Challenges, Message, SiweSettings, WalletProof};
use web_server::logins::{ChallengeAsk, TokenAsk, VerifyAsk};

/// Whatever is asked for, the text to be signed is a message for this site, this session and an
/// address that was in the body; and no body logs a wallet in that has not signed.
pub fn login_bodies(data: &[u8]) {
    let now = UNIX_EPOCH + Duration::from_secs(1_767_268_800);
    let session = SessionId::fresh();
    let settings = SiweSettings::new("app.example", "https://app.example/login");
    let mut challenges = Challenges::new(settings);
    if let Ok(ask) = serde_json::from_slice::<ChallengeAsk>(data)
        && let Ok(text) = challenges.challenge(session, &ask.address, ask.chain_id, now)
    {
        let message = Message::parse(&text).expect("it can be read");
        assert_eq!((message.domain, message.uri, message.chain), ("app.example", "https://app.example/login", ask.chain_id));
        assert_eq!(Some(message.address), Address::parse(&ask.address).ok());
        let unsigned = format!("0x{}1b", "01".repeat(64));
        assert!(!matches!(challenges.verify(session, &text, &unsigned, now), Ok(WalletProof::Proved(_))));
    }
    if let Ok(ask) = serde_json::from_slice::<VerifyAsk>(data) {
        assert!(!matches!(challenges.verify(session, &ask.message, &ask.signature, now), Ok(WalletProof::Proved(_))));
    }
    if let Ok(ask) = serde_json::from_slice::<TokenAsk>(data) {
        super::token(ask.token.as_bytes());
    }
}
