//! To whom a stored message is charged, and the error for a sender whose message is refused.

use std::net::IpAddr;

use common::{
    error::{ClientError, ErrorCode},
    network::{Network, counted},
};
use store::{OwnerKey, Standing, StoreError};

use crate::peers::{Peer, PeerKind};

/// The store's key for a sender: a session with its user and its client address, or an agent with
/// its key. Addresses in `exempt` are not counted.
pub fn owner_key(peer: &Peer, exempt: &[Network]) -> OwnerKey {
    let sender = peer.address().to_owned();
    match &peer.kind {
        PeerKind::Agent(_) => {
            let key = peer.pass.as_ref().map(|pass| pass.name().to_owned());
            OwnerKey { standing: Standing::Agent, sender, user: None, address: None, key }
        }
        PeerKind::Session(identity) => {
            let user = peer.user_id().map(ToString::to_string);
            let standing = if user.is_some() { Standing::User } else { Standing::Anonymous };
            let address = identity.ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok());
            let address = address.and_then(|address| counted(address, exempt)).map(|address| address.to_string());
            OwnerKey { standing, sender, user, address, key: None }
        }
    }
}

/// The error for the sender of a message that the store refuses.
pub fn refusal_of(error: &StoreError) -> ClientError {
    match error {
        StoreError::QuotaExceeded { kind, of, limit } => {
            let message = format!(
                "The quota of this {} is used up: {limit} {of} are stored. Wait until receivers acknowledge some, or send ephemeral messages.",
                kind.as_str()
            );
            ClientError::with_message(ErrorCode::QuotaExceeded, message)
        }
        StoreError::Full { .. } | StoreError::DiskReserve { .. } => ErrorCode::StoreFull.into(),
        StoreError::Damaged { .. } | StoreError::Corrupt(_) => ErrorCode::StoreDamaged.into(),
        _ => ErrorCode::StoreUnavailable.into(),
    }
}
