//! Notices that the bridge itself sends to many peers.

use common::message::{Speaker, SystemMessage};
use transport::Frame;

/// A notice: encoded once, and sent in the lane of messages, so that nobody hears that a peer left
/// before its last messages.
pub(super) fn notice(message: &SystemMessage) -> Frame {
    Frame::text(&message.encode(Speaker::Bridge, None, None))
}
