//! The messages that wallets sign, and the answers to challenges.

use std::time::{Duration, UNIX_EPOCH};

use common::id::SessionId;
use identity::siwe::{Challenges, Message, SiweSettings, WalletProof};

/// What is read as a message is written again byte for byte; and no text with no signature logs
/// anybody in who has not signed.
pub fn wallet_message(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(message) = Message::parse(text) {
        assert_eq!(message.to_string(), text);
        assert!(text.is_ascii() && !text.contains('\r'));
        assert!(message.nonce.len() >= 8 && message.nonce.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
    let now = UNIX_EPOCH + Duration::from_secs(1_767_268_800);
    let mut challenges = Challenges::with_nonces(
        SiweSettings::new("app.example", "https://app.example/login"),
        Box::new(|| Some("k7Qm2Vx9ZtRb4LwYp8Hc6NsD".to_owned())),
    );
    let session = SessionId::fresh();
    let asked = challenges.challenge(session, "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A", 1, now);
    let challenge = asked.expect("a challenge");
    // As a message with a signature that somebody made of nothing, and as the signature of the
    // right message.
    let zeros = format!("0x{}1b", "01".repeat(64));
    for (message, signature) in [(text, zeros.as_str()), (challenge.as_str(), text)] {
        let verdict = challenges.verify(session, message, signature, now);
        assert!(!matches!(verdict, Ok(WalletProof::Proved(_))));
    }
    assert!(challenges.len() <= 1);
}
