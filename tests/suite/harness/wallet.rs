//! A wallet that signs in. The suite of the edge includes this file.

use identity::siwe::{Signature, personal_hash};
use k256::ecdsa::SigningKey;

/// A key as wallets have it.
pub struct Wallet(SigningKey);

impl Wallet {
    /// One that goes with a number.
    pub fn new(number: u8) -> Self {
        Self(SigningKey::from_slice(&[number; 32]).expect("a key"))
    }

    /// Signs a text as `personal_sign` does.
    pub fn sign(&self, text: &str) -> String {
        let (signature, recovery) = self.0.sign_prehash_recoverable(&personal_hash(text));
        let digits: String = signature.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("0x{digits}{:02x}", 27 + recovery.to_byte())
    }

    /// Its address: whose signature its own is.
    pub fn address(&self) -> String {
        let signature = Signature::parse(&self.sign("whose?")).expect("a signature");
        signature.signer(&personal_hash("whose?")).expect("somebody's").to_string()
    }
}
