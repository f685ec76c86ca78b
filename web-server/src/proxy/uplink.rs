//! The frames from a client to the broker: passed on, held while the broker is away, or dropped.
//!
//! Pure. Frames are handled whole and as they came, including the mask. Messages stay together: a
//! message goes to one broker connection whole, waits whole, or is dropped whole, so that no broker
//! sees the end of a message without its beginning. The waiting bytes have a bound. At the bound
//! new messages are dropped whole and counted.

use bytes::{Bytes, BytesMut};
use transport::{
    FrameError,
    fragments::{Fragments, MessageLimits, Part},
    frame::FrameHeader,
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
    /// Of one message.
    pub message: MessageLimits,
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

/// See the module.
#[derive(Debug)]
pub struct Uplink {
    held_bytes: usize,
    linked: bool,
    fragments: Fragments,
    /// Of the message whose last fragment has not arrived.
    route: Option<Route>,
    held: BytesMut,
    dropped: Dropped,
}

impl Uplink {
    /// An uplink without a broker.
    pub fn new(limits: UplinkLimits) -> Self {
        Self {
            held_bytes: limits.held_bytes,
            linked: false,
            fragments: Fragments::new(limits.message),
            route: None,
            held: BytesMut::new(),
            dropped: Dropped::default(),
        }
    }

    /// Takes a frame of a message (no control frame). Returns whether it goes to the broker now.
    ///
    /// # Errors
    /// The frame breaks a rule about fragments or sizes. The connection must be closed.
    pub fn on_frame(&mut self, header: &FrameHeader, bytes: &[u8]) -> Result<bool, FrameError> {
        let part = self.fragments.on_frame(header)?;
        let begun = match part {
            Part::Whole | Part::First => None,
            Part::Middle | Part::Last => self.route,
        };
        let new = || if self.linked { Route::Pass } else { Route::Hold { from: self.held.len() } };
        let mut route = begun.unwrap_or_else(new);
        match route {
            Route::Pass => {}
            Route::Hold { .. } if self.held.len() + bytes.len() <= self.held_bytes => self.held.extend_from_slice(bytes),
            Route::Hold { from } => {
                let before = self.held.len().saturating_sub(from);
                self.held.truncate(from);
                route = Route::Drop;
                self.dropped.messages += 1;
                self.dropped.bytes += (before + bytes.len()) as u64;
            }
            Route::Drop => self.dropped.bytes += bytes.len() as u64,
        }
        self.route = matches!(part, Part::First | Part::Middle).then_some(route);
        Ok(route == Route::Pass)
    }

    /// Whether the broker has the beginning of a message without its end.
    pub fn is_inside(&self) -> bool {
        self.route == Some(Route::Pass)
    }

    /// The broker is connected. Returns the waiting frames, and what was dropped since the last
    /// time.
    pub fn open(&mut self) -> (Bytes, Dropped) {
        self.linked = true;
        if let Some(route @ Route::Hold { .. }) = &mut self.route {
            *route = Route::Pass;
        }
        (std::mem::take(&mut self.held).freeze(), std::mem::take(&mut self.dropped))
    }

    /// The broker is away. If half of a message has gone to it, the rest is dropped.
    pub fn hold(&mut self) {
        self.linked = false;
        if let Some(route @ Route::Pass) = &mut self.route {
            *route = Route::Drop;
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
    use transport::frame::OpCode;

    use super::*;

    const LIMITS: UplinkLimits = UplinkLimits { message: MessageLimits { max_bytes: 100, max_fragments: 3 }, held_bytes: 30 };

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
    fn frames_pass_while_linked() {
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
    fn a_frame_that_does_not_follow_is_a_fault() {
        let mut uplink = Uplink::new(LIMITS);
        let _ = feed(&mut uplink, OpCode::Text, false, 1);
        assert_eq!(feed(&mut uplink, OpCode::Text, true, 2), Err(FrameError::Interleaved));
    }
}
