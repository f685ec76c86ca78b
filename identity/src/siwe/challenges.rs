//! The open challenges, and the answers to them.
//!
//! A challenge belongs to one session, address and chain, and is valid once, for a few minutes. The
//! table is bounded, in all and for each session. At either bound **the oldest gives way**: a flood
//! shortens the time that others have to sign, but cannot lock them out. The first answer of its
//! own session that names a nonce uses the nonce up, right or wrong; answers of other sessions do
//! not.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::SystemTime,
};

use common::{id::SessionId, timestamp};
use sha2::{Digest, Sha256};

use super::{
    Address, ContractQuestion, EthCall, Message, Moment, Signature, SiweError, SiweSettings, Wallet, WalletKind, personal_hash,
};
use crate::encoding::random_text;

/// Characters of a nonce: 142 random bits.
const NONCE_LENGTH: usize = 24;

/// The source of nonces. `None` if the system has no randomness.
pub type NonceSource = Box<dyn FnMut() -> Option<String> + Send + Sync>;

/// See the module.
pub struct Challenges {
    settings: SiweSettings,
    nonces: NonceSource,
    open: HashMap<String, Open>,
    /// Nonces in the order in which they were issued.
    order: BTreeMap<u64, String>,
    of_session: HashMap<SessionId, VecDeque<u64>>,
    next: u64,
}

struct Open {
    number: u64,
    session: SessionId,
    address: Address,
    chain: u64,
    /// Of the issued text.
    digest: [u8; 32],
    expires_at: SystemTime,
    is_used: bool,
}

/// The outcome of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalletProof {
    /// The wallet's own key signed.
    Proved(Wallet),
    /// It did not sign; a contract may be asked.
    AskContract {
        /// The question.
        question: ContractQuestion,
        /// Why no key is known to have signed. This is the refusal if there is no contract either.
        otherwise: SiweError,
    },
}

impl WalletProof {
    /// The wallet; asks the contract if that is needed.
    ///
    /// # Errors
    /// `siwe_contract_refused`, `siwe_contract_unavailable`. If there is no contract, the fault of
    /// the signature.
    pub async fn settle(self, node: &dyn EthCall) -> Result<Wallet, SiweError> {
        let (question, otherwise) = match self {
            Self::Proved(wallet) => return Ok(wallet),
            Self::AskContract { question, otherwise } => (question, otherwise),
        };
        let answer = node.eth_call(&question).await.map_err(|_| SiweError::ContractUnavailable)?;
        if answer.is_yes() {
            Ok(Wallet { address: question.contract, chain: question.chain, kind: WalletKind::Contract })
        } else {
            Err(if answer.is_nobody() { otherwise } else { SiweError::ContractRefused })
        }
    }
}

impl Challenges {
    /// An empty table. The settings must have no [`faults`](SiweSettings::faults).
    pub fn new(settings: SiweSettings) -> Self {
        Self::with_nonces(settings, Box::new(|| random_text(NONCE_LENGTH)))
    }

    /// An empty table with nonces of the caller, for tests that must know them.
    pub fn with_nonces(settings: SiweSettings, nonces: NonceSource) -> Self {
        Self { settings, nonces, open: HashMap::new(), order: BTreeMap::new(), of_session: HashMap::new(), next: 0 }
    }

    /// The number of open challenges, including used ones until they expire.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The text that a session's wallet must sign.
    ///
    /// # Errors
    /// `siwe_address_malformed`, `siwe_address_checksum`, `siwe_chain_not_allowed`;
    /// `siwe_unavailable` without randomness.
    pub fn challenge(&mut self, session: SessionId, address: &str, chain: u64, now: SystemTime) -> Result<String, SiweError> {
        let address = Address::parse(address).map_err(|fault| match fault {
            super::AddressFault::Malformed => SiweError::AddressMalformed,
            super::AddressFault::Checksum => SiweError::AddressChecksum,
        })?;
        if !self.settings.chains.contains(&chain) {
            return Err(SiweError::ChainNotAllowed);
        }
        let nonce = (self.nonces)().filter(|nonce| !self.open.contains_key(nonce)).ok_or(SiweError::Unavailable)?;
        let expires_at = now.checked_add(self.settings.lifetime).ok_or(SiweError::Unavailable)?;
        let [issued, expires] = [now, expires_at].map(timestamp::text);
        let text = Message {
            scheme: None,
            domain: &self.settings.domain,
            address,
            statement: self.settings.statement.as_deref(),
            uri: &self.settings.uri,
            chain,
            nonce: &nonce,
            issued_at: Moment { text: &issued, time: now },
            expires_at: Some(Moment { text: &expires, time: expires_at }),
            not_before: None,
            request_id: None,
            resources: None,
        }
        .to_string();
        self.make_room(session, now);
        let digest = Sha256::digest(text.as_bytes()).into();
        let number = self.next;
        self.next += 1;
        self.order.insert(number, nonce.clone());
        self.of_session.entry(session).or_default().push_back(number);
        self.open.insert(nonce, Open { number, session, address, chain, digest, expires_at, is_used: false });
        Ok(text)
    }

    /// Checks a session's answer: first the message, then the signature.
    ///
    /// # Errors
    /// The first check that fails. Once the nonce has been found, the challenge is used up,
    /// whatever the outcome.
    pub fn verify(&mut self, session: SessionId, text: &str, signature: &str, now: SystemTime) -> Result<WalletProof, SiweError> {
        let message = Message::parse(text)?;
        let signature = Signature::parse(signature)?;
        let is = |is_good: bool, otherwise: SiweError| if is_good { Ok(()) } else { Err(otherwise) };
        let SiweSettings { domain, uri, chains, .. } = &self.settings;
        is(message.domain == domain, SiweError::DomainMismatch)?;
        is(message.uri == uri, SiweError::UriMismatch)?;
        is(chains.contains(&message.chain), SiweError::ChainNotAllowed)?;

        let open = self.open.get_mut(message.nonce).ok_or(SiweError::NonceUnknown)?;
        is(open.session == session, SiweError::NonceOfAnother)?;
        is(!open.is_used, SiweError::NonceUsed)?;
        open.is_used = true;
        is(open.address == message.address, SiweError::AddressMismatch)?;
        is(open.chain == message.chain, SiweError::ChainMismatch)?;
        // The times are of this process, so there is no other clock to allow for.
        is(message.expires_at.is_none_or(|end| end.time > now) && open.expires_at > now, SiweError::Expired)?;
        is(message.not_before.is_none_or(|start| start.time <= now), SiweError::NotYetValid)?;
        is(message.issued_at.time <= now, SiweError::IssuedInFuture)?;
        is(Sha256::digest(text.as_bytes()).as_slice() == open.digest, SiweError::Altered)?;
        self.judge(&message, &personal_hash(text), &signature)
    }

    fn judge(&self, message: &Message<'_>, hash: &[u8; 32], signature: &Signature) -> Result<WalletProof, SiweError> {
        let otherwise = match signature.signer(hash) {
            Ok(signer) if signer == message.address => {
                return Ok(WalletProof::Proved(Wallet { address: signer, chain: message.chain, kind: WalletKind::Key }));
            }
            Ok(_) => SiweError::WrongSigner,
            Err(fault) => fault,
        };
        if !self.settings.contract_chains.contains(&message.chain) {
            return Err(otherwise);
        }
        let question = ContractQuestion::new(message.chain, message.address, hash, signature);
        Ok(WalletProof::AskContract { question, otherwise })
    }

    /// Removes what has expired, and at the bound the oldest.
    fn make_room(&mut self, session: SessionId, now: SystemTime) {
        // All have the same lifetime, so the oldest expire first.
        while let Some((number, nonce)) = self.order.first_key_value()
            && self.open.get(nonce).is_none_or(|open| open.expires_at <= now || self.open.len() >= self.settings.max_challenges)
        {
            self.remove(*number);
        }
        while let Some(numbers) = self.of_session.get(&session)
            && numbers.len() >= self.settings.max_per_session
            && let Some(oldest) = numbers.front().copied()
        {
            self.remove(oldest);
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(open) = self.order.remove(&number).and_then(|nonce| self.open.remove(&nonce)) else { return };
        debug_assert_eq!(open.number, number);
        if let Some(numbers) = self.of_session.get_mut(&open.session) {
            numbers.retain(|of_session| *of_session != number);
            if numbers.is_empty() {
                self.of_session.remove(&open.session);
            }
        }
    }
}

#[cfg(test)]
#[path = "challenges_tests.rs"]
mod tests;
