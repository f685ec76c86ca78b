//! The frames from the broker to a client. The edge may insert its own messages where a message
//! ends.
//!
//! Pure.

use transport::{
    Frame, FrameError,
    fragments::{Fragments, MessageLimits},
    frame::FrameHeader,
};

/// The broker is trusted to keep its own limits.
const NO_LIMITS: MessageLimits = MessageLimits { max_bytes: usize::MAX, max_fragments: usize::MAX };

/// Whether a message is incomplete, and what the edge has to send after it.
#[derive(Debug)]
pub struct Downlink {
    fragments: Fragments,
    /// Few: in the middle of a message the broker asks for nothing. There is at most the answer to
    /// an earlier question, the notice that the edge drains, and one notice of expiry for each of
    /// the session's tokens. A loss of the broker ends the message.
    deferred: Vec<Frame>,
}

impl Default for Downlink {
    fn default() -> Self {
        Self { fragments: Fragments::new(NO_LIMITS), deferred: Vec::new() }
    }
}

impl Downlink {
    /// Checks a frame of a message (no control frame).
    ///
    /// # Errors
    /// The frame does not follow from the one before.
    pub fn on_frame(&mut self, header: &FrameHeader) -> Result<(), FrameError> {
        self.fragments.on_frame(header).map(drop)
    }

    /// Whether the client has the beginning of a message without its end.
    pub fn is_inside(&self) -> bool {
        self.fragments.is_inside()
    }

    /// Returns the notice if it may be sent now. Otherwise keeps it until [`Downlink::due`].
    pub fn speak(&mut self, notice: Frame) -> Option<Frame> {
        if self.is_inside() {
            self.deferred.push(notice);
            return None;
        }
        Some(notice)
    }

    /// The notices that may be sent now.
    pub fn due(&mut self) -> Vec<Frame> {
        if self.is_inside() { Vec::new() } else { std::mem::take(&mut self.deferred) }
    }
}

#[cfg(test)]
mod tests {
    use transport::frame::OpCode;

    use super::*;

    fn header(opcode: OpCode, fin: bool) -> FrameHeader {
        FrameHeader { fin, opcode, mask: None, header_len: 2, payload_len: 0 }
    }

    #[test]
    fn the_edge_speaks_between_messages_only() {
        let mut downlink = Downlink::default();
        let notice = Frame::text("{}");
        assert_eq!(downlink.speak(notice.clone()), Some(notice.clone()));
        downlink.on_frame(&header(OpCode::Text, false)).expect("begins");
        assert_eq!(downlink.speak(notice.clone()), None);
        assert!(downlink.due().is_empty());
        downlink.on_frame(&header(OpCode::Continuation, true)).expect("ends");
        assert_eq!(downlink.due(), [notice]);
        assert!(downlink.due().is_empty());
    }

    #[test]
    fn frames_that_do_not_follow_are_faults() {
        let mut downlink = Downlink::default();
        assert_eq!(downlink.on_frame(&header(OpCode::Continuation, true)), Err(FrameError::UnexpectedContinuation));
        downlink.on_frame(&header(OpCode::Text, false)).expect("begins");
        assert_eq!(downlink.on_frame(&header(OpCode::Text, true)), Err(FrameError::Interleaved));
    }
}
