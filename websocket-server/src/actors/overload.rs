//! Translates what a sender says about slow receivers into the transport's terms.

use common::envelope::{self, Envelope, Priority, merge_deltas};
use transport::{Frame, Lane, Overflow, StreamKey};

use crate::hashing::hash;

/// The lane of a priority.
pub(super) const fn lane_of(priority: Priority) -> Lane {
    match priority {
        Priority::Control => Lane::Control,
        Priority::High => Lane::High,
        Priority::Normal => Lane::Normal,
        Priority::Low => Lane::Low,
    }
}

/// The overflow rule of a message from `source`.
pub(super) fn overflow_of(envelope: &Envelope<'_>, source: &str) -> Overflow {
    // A stream: messages of one sender, rule, type and target with the same key. If a sender could
    // aim its hash at another's, its messages would replace the other's.
    let stream = |key: Option<&str>| {
        StreamKey::from_hash(hash((source, envelope.overflow, envelope.kind.as_ref(), &envelope.target, key)))
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
