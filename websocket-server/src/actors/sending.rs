//! A frame of a peer becomes a message for the router.

use common::{
    address::Address,
    config::{DefaultDelivery, StoreSettings},
    envelope::{Delivery, Envelope},
    error::{ClientError, ErrorCode},
};
use transport::{Frame, clock::now_ms};
use uuid::Uuid;

use super::overload::{lane_of, overflow_of};
use crate::{
    hashing::hash,
    peers::Peer,
    routing::{StampedMessage, Trace},
};

/// Stamps the frame that a peer has sent, and reads what the router needs of its head.
///
/// # Errors
/// `invalid_envelope`: fields that exclude each other, or that only the bridge may write.
pub fn outgoing(store: &StoreSettings, peer: &Peer, envelope: &Envelope<'_>) -> Result<StampedMessage, ClientError> {
    let is_durable = is_durable(store, envelope);
    let fault = if envelope.retain && !matches!(envelope.target, Some(Address::Topic(_))) {
        Some("`retain` is for messages to a topic")
    } else if is_durable && envelope.has_position {
        Some("`channel`, `epoch`, `seq`, `prev`, `redelivered` and `retained` of a durable message are the bridge's to set")
    } else if envelope.receipt && !(is_durable && may_be_inbox(envelope.target.as_ref())) {
        Some("`receipt` is for durable messages to an agent, session or user")
    } else {
        None
    };
    if let Some(fault) = fault {
        return Err(ClientError::with_message(ErrorCode::InvalidEnvelope, fault));
    }
    let mut buffer = Uuid::encode_buffer();
    let id = match &envelope.id {
        Some(id) => id,
        None => &*Uuid::new_v4().hyphenated().encode_lower(&mut buffer),
    };
    let stamp = envelope.stamp(peer.source_json(), id);
    let frame = Frame::text_from(stamp.len(), |out| stamp.write_to(out));
    Ok(StampedMessage {
        frame,
        bytes_in: envelope.text.len(),
        family: envelope.family(),
        lane: lane_of(envelope.priority),
        overflow: overflow_of(envelope, peer.address()),
        target: envelope.target.clone(),
        correlation_id: envelope.correlation_id.as_deref().map(str::to_owned),
        trace: trace(envelope, id),
        id: (is_durable || envelope.timeout_ms.is_some()).then(|| id.to_owned()),
        is_durable,
        retain: envelope.effect_on_retained(),
        receipt: envelope.receipt,
        priority: envelope.priority,
        ttl_ms: envelope.ttl_ms,
        deadline_ms: envelope.timeout_ms.map(|timeout| now_ms() + u64::from(timeout)),
    })
}

/// Whether a message must be stored: as its sender says, or as is the default for its target.
fn is_durable(store: &StoreSettings, envelope: &Envelope<'_>) -> bool {
    match (envelope.delivery, &envelope.target) {
        (Some(delivery), _) => delivery == Delivery::Durable,
        _ if envelope.retain || envelope.receipt => true,
        (None, Some(Address::Topic(name))) => store.is_durable_topic(name.as_str()),
        (None, Some(Address::Broadcast(_))) => false,
        (None, Some(target)) if target.is_bridge() => false,
        // Types that are of no use later: requests with a time limit, steps of an answer, messages
        // that may be dropped.
        (None, _) if envelope.timeout_ms.is_some() || envelope.overflow.is_some() || envelope.is_step() => false,
        (None, _) => store.default_delivery == DefaultDelivery::Durable,
    }
}

/// Whether a durable message with this target goes to an inbox. Without a target it goes to the
/// sender's default agent.
fn may_be_inbox(target: Option<&Address>) -> bool {
    !matches!(target, Some(Address::Topic(_) | Address::Broadcast(_)))
}

/// The ids for detecting loops: of answers, and of messages to many.
fn trace(envelope: &Envelope<'_>, id: &str) -> Option<Trace> {
    let answers = envelope.correlation_id.as_deref().map(hash);
    let is_for_many = matches!(envelope.target, Some(Address::Topic(_) | Address::User(_) | Address::Broadcast(_)));
    (answers.is_some() || is_for_many).then(|| Trace { id: hash(id), answers })
}
