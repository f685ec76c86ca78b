//! The order and the size of the frames of messages (RFC 6455, section 5.4), and text put together
//! from them. Pure.

use crate::frame::{FrameError, FrameHeader, OpCode};

/// The limits of a peer's messages.
#[derive(Clone, Copy, Debug)]
pub struct MessageLimits {
    /// The longest frame and message in bytes.
    pub max_bytes: usize,
    /// The most fragments of one message.
    pub max_fragments: usize,
}

/// Which part of a message a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first of several.
    First,
    /// Neither the first nor the last.
    Middle,
    /// The last of several.
    Last,
}

/// Checks that the frames of one direction follow from each other.
#[derive(Debug)]
pub struct Fragments {
    limits: MessageLimits,
    open: Option<Open>,
}

/// A message whose last fragment has not arrived.
#[derive(Clone, Copy, Debug)]
struct Open {
    fragments: usize,
    bytes: usize,
}

impl Fragments {
    /// At the beginning of a connection.
    pub fn new(limits: MessageLimits) -> Self {
        Self { limits, open: None }
    }

    /// Takes the header of a frame of a message (no control frame).
    ///
    /// # Errors
    /// The frame does not follow from the one before, or the message is too long or has too many
    /// fragments. The connection must be closed.
    pub fn on_frame(&mut self, header: &FrameHeader) -> Result<Part, FrameError> {
        let before = match (header.opcode, self.open.take()) {
            (OpCode::Continuation, None) => return Err(FrameError::UnexpectedContinuation),
            (OpCode::Continuation, before) => before,
            (_, Some(_)) => return Err(FrameError::Interleaved),
            (_, None) => None,
        };
        let Open { fragments, bytes } = before.unwrap_or(Open { fragments: 0, bytes: 0 });
        let now = Open { fragments: fragments + 1, bytes: bytes + header.payload_len };
        if now.fragments > self.limits.max_fragments {
            return Err(FrameError::TooManyFragments { limit: self.limits.max_fragments });
        }
        if now.bytes > self.limits.max_bytes {
            return Err(FrameError::TooBig { limit: self.limits.max_bytes });
        }
        if !header.fin {
            self.open = Some(now);
        }
        Ok(match (before, header.fin) {
            (None, true) => Part::Whole,
            (None, false) => Part::First,
            (Some(_), false) => Part::Middle,
            (Some(_), true) => Part::Last,
        })
    }

    /// Whether a message has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.open.is_some()
    }
}

/// Puts text messages together from their frames. A message of one frame is not copied.
#[derive(Debug)]
pub struct TextAssembly {
    fragments: Fragments,
    /// The text so far of a message in several fragments.
    text: Vec<u8>,
}

impl TextAssembly {
    /// At the beginning of a connection.
    pub fn new(limits: MessageLimits) -> Self {
        Self { fragments: Fragments::new(limits), text: Vec::new() }
    }

    /// Bytes kept for later.
    pub fn kept(&self) -> usize {
        self.text.len()
    }

    /// Takes a frame of a text message with its unmasked payload. Passes the message to `on_text`
    /// when it is whole.
    ///
    /// # Errors
    /// See [`Fragments::on_frame`]; the text is not UTF-8.
    pub fn take<T>(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        on_text: impl FnOnce(&str) -> T,
    ) -> Result<Option<T>, FrameError> {
        match self.fragments.on_frame(header)? {
            Part::Whole => return Ok(Some(on_text(text_of(payload)?))),
            Part::First => self.text = payload.to_vec(),
            Part::Middle => self.text.extend_from_slice(payload),
            Part::Last => {
                self.text.extend_from_slice(payload);
                let text = std::mem::take(&mut self.text);
                return Ok(Some(on_text(text_of(&text)?)));
            }
        }
        Ok(None)
    }
}

fn text_of(payload: &[u8]) -> Result<&str, FrameError> {
    std::str::from_utf8(payload).map_err(|_| FrameError::InvalidUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MessageLimits = MessageLimits { max_bytes: 100, max_fragments: 3 };

    fn header(opcode: OpCode, fin: bool, payload_len: usize) -> FrameHeader {
        FrameHeader { fin, opcode, mask: None, header_len: 2, payload_len }
    }

    #[test]
    fn parts_follow_from_each_other() {
        let mut fragments = Fragments::new(LIMITS);
        assert_eq!(fragments.on_frame(&header(OpCode::Text, true, 1)), Ok(Part::Whole));
        assert_eq!(fragments.on_frame(&header(OpCode::Binary, false, 1)), Ok(Part::First));
        assert!(fragments.is_inside());
        assert_eq!(fragments.on_frame(&header(OpCode::Continuation, false, 1)), Ok(Part::Middle));
        assert_eq!(fragments.on_frame(&header(OpCode::Continuation, true, 1)), Ok(Part::Last));
        assert!(!fragments.is_inside());
    }

    #[test]
    fn frames_that_do_not_follow_and_messages_over_the_limits_are_faults() {
        let fault = |frames: &[(OpCode, bool, usize)]| {
            let mut fragments = Fragments::new(LIMITS);
            frames.iter().find_map(|(opcode, fin, length)| fragments.on_frame(&header(*opcode, *fin, *length)).err())
        };
        let (first, more) = ((OpCode::Text, false, 40), (OpCode::Continuation, false, 10));
        assert_eq!(fault(&[(OpCode::Continuation, true, 1)]), Some(FrameError::UnexpectedContinuation));
        assert_eq!(fault(&[first, (OpCode::Text, true, 1)]), Some(FrameError::Interleaved));
        assert_eq!(fault(&[first, more, more, more]), Some(FrameError::TooManyFragments { limit: 3 }));
        assert_eq!(fault(&[first, (OpCode::Continuation, true, 61)]), Some(FrameError::TooBig { limit: 100 }));
        assert_eq!(fault(&[first, (OpCode::Continuation, true, 60)]), None);
    }

    #[test]
    fn text_is_put_together_and_checked_as_a_whole() {
        let mut assembly = TextAssembly::new(LIMITS);
        let (one, two) = "h\u{e9}".as_bytes().split_at(2);
        assert_eq!(assembly.take(&header(OpCode::Text, false, 2), one, str::to_owned), Ok(None));
        assert_eq!(assembly.kept(), 2);
        let text = assembly.take(&header(OpCode::Continuation, true, 1), two, str::to_owned);
        assert_eq!(text, Ok(Some("h\u{e9}".to_owned())));
        assert_eq!(assembly.take(&header(OpCode::Text, true, 2), one, str::to_owned), Err(FrameError::InvalidUtf8));
    }
}
