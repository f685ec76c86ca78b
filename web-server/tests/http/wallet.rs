//! Signing in with a wallet.

use serde_json::{Value, json};

pub use self::key::Wallet;
use crate::{client::Answer, harness::Edge};

#[path = "../../../tests/suite/harness/wallet.rs"]
mod key;

/// The header with a session's credentials.
pub fn cookie(token: &str) -> String {
    format!("agent_bridge_session={token}")
}

impl Edge {
    /// The text that a session's wallet must sign.
    pub async fn challenge(&self, token: &str, wallet: &Wallet) -> String {
        let ask = json!({"address": wallet.address(), "chain_id": 1});
        let answer = self.post("/auth/challenge", &[("Cookie", &cookie(token))], &ask).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["message"].as_str().expect("a message").to_owned()
    }

    /// Logs a session in; `sockets` are kept.
    pub async fn sign_in(&self, token: &str, wallet: &Wallet, sockets: &[Value]) -> Answer {
        let message = self.challenge(token, wallet).await;
        let signature = wallet.sign(&message);
        let proof = json!({"message": message, "signature": signature, "sockets": sockets});
        self.post("/auth/verify", &[("Cookie", &cookie(token))], &proof).await
    }
}
