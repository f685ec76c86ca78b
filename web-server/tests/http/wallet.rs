//! A wallet: a key that signs what it is asked to, as wallets do (EIP-191).

use identity::siwe::{Address, personal_hash};
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};
use sha3::{Digest, Keccak256};

use crate::{client::Answer, harness::Edge};

pub struct Wallet(SigningKey);

impl Wallet {
    pub fn new(number: u8) -> Self {
        Self(SigningKey::from_slice(&[number; 32]).expect("a key"))
    }

    pub fn address(&self) -> String {
        let point = self.0.verifying_key().to_sec1_point(false);
        let hash = Keccak256::digest(&point.as_bytes()[1..]);
        Address(hash[12..].try_into().expect("20 bytes")).to_string()
    }

    pub fn sign(&self, message: &str) -> String {
        let (signature, recovery) = self.0.sign_prehash_recoverable(&personal_hash(message));
        let mut text = String::from("0x");
        for byte in signature.to_bytes().iter().chain([&(27 + recovery.to_byte())]) {
            text.push_str(&format!("{byte:02x}"));
        }
        text
    }
}

/// The header that proves a session.
pub fn cookie(token: &str) -> String {
    format!("agent_bridge_session={token}")
}

impl Edge {
    /// The text that a session's wallet is asked to sign.
    pub async fn challenge(&self, token: &str, wallet: &Wallet) -> String {
        let ask = json!({"address": wallet.address(), "chain_id": 1});
        let answer = self.post("/auth/challenge", &[("Cookie", &cookie(token))], &ask).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["message"].as_str().expect("a message").to_owned()
    }

    /// Signs a session in; `sockets` are to be kept.
    pub async fn sign_in(&self, token: &str, wallet: &Wallet, sockets: &[Value]) -> Answer {
        let message = self.challenge(token, wallet).await;
        let signature = wallet.sign(&message);
        let proof = json!({"message": message, "signature": signature, "sockets": sockets});
        self.post("/auth/verify", &[("Cookie", &cookie(token))], &proof).await
    }
}
