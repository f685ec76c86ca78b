//! The frames from a client to the broker: passed on, held while the broker is away, or dropped.
//!
//! Pure. Frames are handled whole and as they came, including the mask. Messages stay together: a
//! message goes to one broker connection whole, waits whole, or is dropped whole, so that no broker
//! sees the end of a message without its beginning. The waiting bytes have a bound. At the bound
//! new messages are dropped whole and counted.

use bytes::{Bytes, BytesMut};
use transport::{
    FrameError,
    frame::{FrameHeader, OpCode},
};

/// The frames of one read to the broker, end to end.
#[derive(Default)]
pub struct Batch {
    /// The frames.
    pub bytes: Vec<u8>,
    /// How many messages begin in it.
    pub messages: u64,
}

/// Bounds of what a client may send.
#[derive(Clone, Copy, Debug)]
pub struct UplinkLimits {
    /// Longest message in bytes.
    pub max_message: usize,
    /// Most fragments of one message.
    pub max_fragments: usize,
    /// Bytes that may wait while the broker is away.
    pub held_bytes: usize,
}

/// What was dropped in a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Where the current message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Pass,
    /// It waits, in `held` from this offset on.
    Hold {
        from: usize,
    },
    Drop,
}

/// A message whose last fragment has not arrived.
#[derive(Clone, Copy, Debug)]
struct OpenMessage {
    route: Route,
    fragments: usize,
    bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Uplink {
    limits: UplinkLimits,
    linked: bool,
    open: Option<OpenMessage>,
    held: BytesMut,
    dropped: Dropped,
}

impl Uplink {
    /// An uplink without a broker.
    pub fn new(limits: UplinkLimits) -> Self {
        Self { limits, linked: false, open: None, held: BytesMut::new(), dropped: Dropped::default() }
    }

    /// Takes a frame of a message (no control frame). Returns whether it goes to the broker now.
    ///
    /// # Errors
    /// The frame breaks a rule about fragments or sizes. The connection must be closed.
    pub fn on_frame(&mut self, header: &FrameHeader, bytes: &[u8]) -> Result<bool, FrameError> {
        let mut message = match (header.opcode, self.open.take()) {
            (OpCode::Continuation, Some(message)) => message,
            (OpCode::Continuation, None) => return Err(FrameError::UnexpectedContinuation),
            (_, Some(_)) => return Err(FrameError::Interleaved),
            (_, None) => {
                let route = if self.linked { Route::Pass } else { Route::Hold { from: self.held.len() } };
                OpenMessage { route, fragments: 0, bytes: 0 }
            }
        };
        message.fragments += 1;
        message.bytes += header.payload_len;
        if message.fragments > self.limits.max_fragments {
            return Err(FrameError::TooManyFragments { limit: self.limits.max_fragments });
        }
        if message.bytes > self.limits.max_message {
            return Err(FrameError::TooBig { limit: self.limits.max_message });
        }
        match message.route {
            Route::Pass => {}
            Route::Hold { .. } if self.held.len() + bytes.len() <= self.limits.held_bytes => self.held.extend_from_slice(bytes),
            Route::Hold { from } => {
                let before = self.held.len().saturating_sub(from);
                self.held.truncate(from);
                message.route = Route::Drop;
                self.dropped.messages += 1;
                self.dropped.bytes += (before + bytes.len()) as u64;
            }
            Route::Drop => self.dropped.bytes += bytes.len() as u64,
        }
        let passes = message.route == Route::Pass;
        self.open = (!header.fin).then_some(message);
        Ok(passes)
    }

    /// Whether the broker has the beginning of a message without its end.
    pub fn is_inside(&self) -> bool {
        self.open.is_some_and(|message| message.route == Route::Pass)
    }

    /// The broker is connected. Returns the waiting frames, and what was dropped since the last
    /// time.
    pub fn open(&mut self) -> (Bytes, Dropped) {
        self.linked = true;
        if let Some(OpenMessage { route: route @ Route::Hold { .. }, .. }) = &mut self.open {
            *route = Route::Pass;
        }
        (std::mem::take(&mut self.held).freeze(), std::mem::take(&mut self.dropped))
    }

    /// The broker is away. If half of a message has gone to it, the rest is dropped.
    pub fn hold(&mut self) {
        self.linked = false;
        if let Some(message) = &mut self.open
            && message.route == Route::Pass
        {
            message.route = Route::Drop;
            self.dropped.messages += 1;
        }
    }

    /// Counts frames that were passed on and did not reach the broker's outbox.
    pub fn on_undeliverable(&mut self, messages: u64, bytes: usize) {
        self.dropped.messages += messages;
        self.dropped.bytes += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: UplinkLimits = UplinkLimits { max_message: 100, max_fragments: 3, held_bytes: 30 };

    fn header(opcode: OpCode, fin: bool, payload_len: usize) -> FrameHeader {
        FrameHeader { fin, opcode, mask: Some([0; 4]), header_len: 6, payload_len }
    }

    /// Feeds a frame of ten bytes, four of them payload, named by its first byte.
    fn feed(uplink: &mut Uplink, opcode: OpCode, fin: bool, name: u8) -> Result<bool, FrameError> {
        uplink.on_frame(&header(opcode, fin, 4), &[name; 10])
    }

    fn opened(uplink: &mut Uplink) -> (Vec<u8>, Dropped) {
        let (bytes, dropped) = uplink.open();
        (bytes.chunks(10).map(|frame| frame[0]).collect(), dropped)
    }

    #[test]
    fn frames_pass_as_they_came_while_linked() {
        let mut uplink = Uplink::new(LIMITS);
        uplink.open();
        assert_eq!(feed(&mut uplink, OpCode::Text, true, 1), Ok(true));
        assert_eq!(feed(&mut uplink, OpCode::Binary, false, 2), Ok(true));
        assert_eq!(feed(&mut uplink, OpCode::Continuation, true, 3), Ok(true));
    }

    #[test]
    fn frames_wait_in_order_and_at_the_bound_new_ones_are_dropped_and_counted() {
        let mut uplink = Uplink::new(LIMITS);
        for name in 1..=5 {
            assert_eq!(feed(&mut uplink, OpCode::Text, true, name), Ok(false));
        }
        assert_eq!(opened(&mut uplink), (vec![1, 2, 3], Dropped { messages: 2, bytes: 20 }));
        uplink.hold();
        assert_eq!(opened(&mut uplink), (vec![], Dropped::default()), "told once");
    }

    #[test]
    fn a_message_that_does_not_fit_is_dropped_whole() {
        let mut uplink = Uplink::new(LIMITS);
        let _ = feed(&mut uplink, OpCode::Text, true, 1);
        let _ = feed(&mut uplink, OpCode::Text, true, 2);
        let _ = feed(&mut uplink, OpCode::Text, false, 3);
        let _ = feed(&mut uplink, OpCode::Continuation, false, 4);
        let _ = feed(&mut uplink, OpCode::Continuation, true, 5);
        assert_eq!(feed(&mut uplink, OpCode::Text, true, 6), Ok(false));
        assert_eq!(opened(&mut uplink), (vec![1, 2, 6], Dropped { messages: 1, bytes: 30 }));
    }

    #[test]
    fn a_message_that_waits_in_part_goes_on_behind_what_waited() {
        let mut uplink = Uplink::new(LIMITS);
        let _ = feed(&mut uplink, OpCode::Text, false, 1);
        assert_eq!(opened(&mut uplink).0, [1]);
        assert_eq!(feed(&mut uplink, OpCode::Continuation, true, 2), Ok(true));
    }

    #[test]
    fn the_rest_of_a_message_half_gone_never_reaches_the_next_broker() {
        let mut uplink = Uplink::new(LIMITS);
        uplink.open();
        let _ = feed(&mut uplink, OpCode::Text, false, 1);
        uplink.hold();
        assert_eq!(feed(&mut uplink, OpCode::Continuation, false, 2), Ok(false));
        assert_eq!(opened(&mut uplink), (vec![], Dropped { messages: 1, bytes: 10 }));
        assert_eq!(feed(&mut uplink, OpCode::Continuation, true, 3), Ok(false));
        assert_eq!(feed(&mut uplink, OpCode::Text, true, 4), Ok(true));
    }

    #[test]
    fn bad_fragments_are_faults() {
        let mut uplink = Uplink::new(LIMITS);
        assert_eq!(feed(&mut uplink, OpCode::Continuation, true, 1), Err(FrameError::UnexpectedContinuation));
        let _ = feed(&mut uplink, OpCode::Text, false, 1);
        assert_eq!(feed(&mut uplink, OpCode::Text, true, 2), Err(FrameError::Interleaved));

        let mut uplink = Uplink::new(LIMITS);
        let _ = feed(&mut uplink, OpCode::Text, false, 1);
        let _ = feed(&mut uplink, OpCode::Continuation, false, 1);
        let _ = feed(&mut uplink, OpCode::Continuation, false, 1);
        assert_eq!(feed(&mut uplink, OpCode::Continuation, true, 1), Err(FrameError::TooManyFragments { limit: 3 }));

        let mut uplink = Uplink::new(LIMITS);
        let big = uplink.on_frame(&header(OpCode::Text, false, 60), &[0; 66]);
        assert_eq!(big, Ok(false));
        let bigger = uplink.on_frame(&header(OpCode::Continuation, true, 60), &[0; 66]);
        assert_eq!(bigger, Err(FrameError::TooBig { limit: 100 }));
    }
}
