//! Sign-In with Ethereum (EIP-4361): a session proves that it holds a wallet.
//!
//! [`Challenges::challenge`] gives a session the text its wallet is to sign; [`Challenges::verify`] takes the text and the
//! signature back. Every check is one of our own with a code of its own ([`SiweError`]); only the curve, the hash and the grammars of
//! URIs and times are crates' (k256, sha3, iri-string, time). Contract wallets (EIP-1271) need a question to a node: `verify` then returns the question, and
//! [`Verdict::settle`] asks it through [`EthCall`].
//!
//! Not here: sessions, sockets, HTTP; ENS names; contracts that are not deployed yet (ERC-6492).

mod address;
mod challenges;
mod contract;
mod error;
mod grammar;
mod message;
mod settings;
mod signature;

pub use address::{Address, AddressFault};
pub use challenges::{Challenges, NonceSource, Verdict};
pub use contract::{ContractAnswer, ContractQuestion, EthCall, RpcFault, read_rpc_answer};
pub use error::SiweError;
pub use message::{Message, Moment};
pub use settings::{SiweSetting, SiweSettings};
pub use signature::{Signature, personal_hash};

use common::id::UserId;

use crate::escape_name;

/// What a wallet is: a key of its own, or a contract on one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WalletKind {
    /// The address of a key: the same holder on every chain.
    Key,
    /// The address of a contract: another chain may have another contract, or none, there.
    Contract,
}

/// A wallet that a session has proved to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wallet {
    /// Its address; shown with the checksum of EIP-55.
    pub address: Address,
    /// The chain it signed in on (EIP-155).
    pub chain: u64,
    /// What it is.
    pub kind: WalletKind,
}

impl Wallet {
    /// What the ids of users who logged in with a wallet begin with. No other login may make such ids.
    pub const USER_PREFIX: &str = "wallet:";

    /// The user it stands for: one per key on all chains, one per contract and chain.
    pub fn user_id(&self) -> Option<UserId> {
        let id = match self.kind {
            WalletKind::Key => format!("{}{}", Self::USER_PREFIX, self.address),
            WalletKind::Contract => format!("{}{}:{}", Self::USER_PREFIX, self.chain, self.address),
        };
        UserId::new(&escape_name(&id, common::id::MAX_NAME)).ok()
    }
}
