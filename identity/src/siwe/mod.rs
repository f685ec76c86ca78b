//! Sign-In with Ethereum (EIP-4361): a session proves that it holds a wallet.
//!
//! [`Challenges::challenge`] returns the text that the session's wallet must sign.
//! [`Challenges::verify`] checks the text and the signature. Every check has its own code
//! ([`SiweError`]). Only the curve, the hash and the grammars of URIs and times come from crates
//! (k256, sha3, iri-string, time). For a contract wallet (EIP-1271) a node must be asked: `verify`
//! then returns the question, and [`WalletProof::settle`] asks it through [`EthCall`].
//!
//! Not here: sessions, sockets, HTTP. Not supported: ENS names, contracts that are not deployed yet
//! (ERC-6492).

mod address;
mod challenges;
mod contract;
mod error;
mod grammar;
mod message;
mod settings;
mod signature;

pub use address::{Address, AddressFault};
pub use challenges::{Challenges, NonceSource, WalletProof};
pub use contract::{ContractAnswer, ContractQuestion, EthCall, RpcFault, read_rpc_answer};
pub use error::SiweError;
pub use message::{Message, Moment};
pub use settings::{SiweSetting, SiweSettings};
pub use signature::{Signature, personal_hash};

use common::id::UserId;

use crate::escape_name;

/// The kind of a wallet: a key, or a contract on one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WalletKind {
    /// The address of a key: its holder is the same on every chain.
    Key,
    /// The address of a contract: on another chain there may be another contract at it, or none.
    Contract,
}

/// A wallet that a session has proved to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wallet {
    /// Its address; displayed with the checksum of EIP-55.
    pub address: Address,
    /// The chain it signed in on (EIP-155).
    pub chain: u64,
    /// Its kind.
    pub kind: WalletKind,
}

impl Wallet {
    /// The prefix of the ids of users who logged in with a wallet. No other login may make such
    /// ids.
    pub const USER_PREFIX: &str = "wallet:";

    /// The user of this wallet: one for each key on all chains, one for each contract and chain.
    pub fn user_id(&self) -> Option<UserId> {
        let id = match self.kind {
            WalletKind::Key => format!("{}{}", Self::USER_PREFIX, self.address),
            WalletKind::Contract => format!("{}{}:{}", Self::USER_PREFIX, self.chain, self.address),
        };
        UserId::new(&escape_name(&id, common::id::MAX_NAME)).ok()
    }
}
