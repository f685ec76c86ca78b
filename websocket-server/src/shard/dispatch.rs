//! A message to be routed.

use std::sync::Arc;

use crate::{peers::Peer, routing::StampedMessage};

/// A message to be routed.
#[derive(Debug)]
pub struct Dispatch {
    /// The sender.
    pub from: Arc<Peer>,
    /// What.
    pub message: StampedMessage,
}
