//! What a message's sender says of receivers that read too slowly, in the transport's words.

use std::{
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use common::{
    address::Address,
    envelope::{self, Envelope, Priority, merge_deltas},
};
use transport::{Frame, Lane, Overflow, StreamKey};

/// The key of the hashes: a sender that knew it could have its messages take the place of another's.
static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The lane that a message takes.
pub(super) const fn lane_of(priority: Priority) -> Lane {
    match priority {
        Priority::Control => Lane::Control,
        Priority::High => Lane::High,
        Priority::Normal => Lane::Normal,
        Priority::Low => Lane::Low,
    }
}

/// The rule of a message from `source`.
pub(super) fn overflow_of(envelope: &Envelope<'_>, source: &str) -> Overflow {
    // A stream: messages of one sender, rule, type and target, with the same key.
    let stream = |key: Option<&str>| {
        let target = envelope.target.as_ref().map(Address::to_string);
        StreamKey::from_hash(HASHES.hash_one((source, envelope.overflow, envelope.kind.as_ref(), target, key)))
    };
    match envelope.overflow {
        None | Some(envelope::Overflow::DropNewest) => Overflow::DropNewest,
        Some(envelope::Overflow::DropOldest) => Overflow::DropOldest,
        Some(envelope::Overflow::Latest) => Overflow::Latest(stream(envelope.conflation_key.as_deref())),
        Some(envelope::Overflow::Merge) => Overflow::Merge(stream(envelope.correlation_id.as_deref()), merged),
    }
}

fn merged(older: &Frame, newer: &Frame) -> Option<Frame> {
    merge_deltas(older.payload_text(), newer.payload_text()).map(|text| Frame::text(&text))
}
