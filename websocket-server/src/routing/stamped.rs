//! A message on its way from its sender to the router.

use common::{
    address::Address,
    envelope::{Family, Priority, Retain},
};
use transport::{Frame, Lane, Overflow};

use super::Trace;

/// A stamped frame to be sent, and the part of its head that routing needs.
#[derive(Debug)]
pub struct StampedMessage {
    /// The frame for its receivers.
    pub frame: Frame,
    /// Bytes of the received frame.
    pub bytes_in: usize,
    /// Its family, for the counters.
    pub family: Family,
    /// Its lane.
    pub lane: Lane,
    /// What happens to it if a receiver reads too slowly. Has no effect if it is durable.
    pub overflow: Overflow,
    /// Its target.
    pub target: Option<Address>,
    /// The id that it answers.
    pub correlation_id: Option<String>,
    /// The ids for detecting loops; `None` if it begins no chain and continues none.
    pub trace: Option<Trace>,
    /// Its id, if an answer of the bridge may have to name it: for requests and durable messages.
    pub id: Option<String>,
    /// Whether it is to be stored, and delivered until acknowledged.
    pub is_durable: bool,
    /// Its effect on its topic's retained value.
    pub retain: Retain,
    /// Whether its sender wants receipts.
    pub receipt: bool,
    /// Its priority.
    pub priority: Priority,
    /// Its time to live, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// For a request: its deadline, in milliseconds of the clock.
    pub deadline_ms: Option<u64>,
}

#[cfg(test)]
impl StampedMessage {
    /// A plain ephemeral message.
    pub fn plain(text: &str, target: Option<Address>) -> Self {
        Self {
            frame: Frame::text(text),
            bytes_in: 0,
            family: Family::Message,
            lane: Lane::Normal,
            overflow: Overflow::DropNewest,
            target,
            correlation_id: None,
            trace: None,
            id: None,
            is_durable: false,
            retain: Retain::No,
            receipt: false,
            priority: Priority::Normal,
            ttl_ms: None,
            deadline_ms: None,
        }
    }
}
