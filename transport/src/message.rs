//! Messages: text put together from frames, pings, pongs and closes.

use common::close::CloseCode;

pub use crate::fragments::MessageLimits;
use crate::{
    fragments::TextAssembly,
    frame::{FrameError, OpCode, Origin, read_close},
    pump::Step,
    scanner::{FrameScanner, RawFrame},
};

/// One message. Borrows from the bytes in which it came.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A ping.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The peer closes; `None` without a code.
    Close(Option<(CloseCode, &'a str)>),
}

/// Reads the messages of one connection.
#[derive(Debug)]
pub struct MessageReader {
    scanner: FrameScanner,
    assembly: TextAssembly,
}

impl MessageReader {
    /// A reader for bytes from `origin`.
    pub fn new(origin: Origin, limits: MessageLimits) -> Self {
        Self { scanner: FrameScanner::new(origin, limits.max_bytes), assembly: TextAssembly::new(limits) }
    }

    /// Bytes kept for later.
    pub fn kept(&self) -> usize {
        self.scanner.kept() + self.assembly.kept()
    }

    /// Passes each complete message in the bytes to `on_message`; see [`FrameScanner::feed`].
    ///
    /// # Errors
    /// A frame breaks RFC 6455, or a message is too long.
    pub fn feed(&mut self, input: &mut [u8], mut on_message: impl FnMut(Message<'_>) -> Step) -> Result<Step, FrameError> {
        let Self { scanner, assembly } = self;
        scanner.feed(input, |frame| take(assembly, frame, &mut on_message))
    }
}

fn take(
    assembly: &mut TextAssembly,
    frame: RawFrame<'_>,
    on_message: &mut impl FnMut(Message<'_>) -> Step,
) -> Result<Step, FrameError> {
    let header = frame.header;
    match header.opcode {
        OpCode::Ping => Ok(on_message(Message::Ping(frame.into_payload()))),
        OpCode::Pong => Ok(on_message(Message::Pong(frame.into_payload()))),
        OpCode::Close => Ok(on_message(Message::Close(read_close(frame.into_payload())?))),
        OpCode::Binary => Err(FrameError::BinaryNotAccepted),
        OpCode::Text | OpCode::Continuation => {
            let taken = assembly.take(&header, frame.into_payload(), |text| on_message(Message::Text(text)))?;
            Ok(taken.unwrap_or(Step::Continue))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{apply_mask, write_header};

    const LIMITS: MessageLimits = MessageLimits { max_bytes: 1000, max_fragments: 4 };

    fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut out = Vec::new();
        write_header(&mut out, OpCode::Text, payload.len(), Some(mask));
        out[0] = first;
        let start = out.len();
        out.extend_from_slice(payload);
        apply_mask(&mut out[start..], mask);
        out
    }

    fn read(frames: &[Vec<u8>]) -> Result<Vec<String>, FrameError> {
        let mut reader = MessageReader::new(Origin::Client, LIMITS);
        let mut seen = Vec::new();
        for frame in frames {
            reader.feed(&mut frame.clone(), |message| {
                seen.push(format!("{message:?}"));
                Step::Continue
            })?;
        }
        Ok(seen)
    }

    #[test]
    fn fragments_become_one_message_with_pings_between() {
        let seen = read(&[
            client_frame(0x01, "h\u{e9}".as_bytes().split_at(2).0),
            client_frame(0x89, b"p"),
            client_frame(0x80, &"h\u{e9}".as_bytes()[2..]),
        ]);
        assert_eq!(seen, Ok(vec!["Ping([112])".to_owned(), "Text(\"h\u{e9}\")".to_owned()]));
    }

    #[test]
    fn every_fault_has_its_code() {
        let code = |frames: &[Vec<u8>]| read(frames).map_err(|error| error.close_code().0);
        assert_eq!(code(&[client_frame(0x82, b"x")]), Err(1003));
        assert_eq!(code(&[client_frame(0x81, &[0xff])]), Err(1007));
        assert_eq!(code(&[client_frame(0x80, b"x")]), Err(1002));
        assert_eq!(code(&[client_frame(0x01, b"x"), client_frame(0x81, b"y")]), Err(1002));
        assert_eq!(code(&[client_frame(0x88, &[3])]), Err(1002));
        assert_eq!(code(&[client_frame(0x88, &1005_u16.to_be_bytes())]), Err(1002));
        assert_eq!(code(&[client_frame(0x88, &[3, 232, 0xff])]), Err(1007));
        assert_eq!(code(&[client_frame(0x81, &[b'x'; 1001])]), Err(1009));
        let endless: Vec<_> = std::iter::once(client_frame(0x01, b"")).chain((0..4).map(|_| client_frame(0x00, b""))).collect();
        assert_eq!(code(&endless), Err(1009));
        let long = [client_frame(0x01, &[b'x'; 600]), client_frame(0x00, &[b'x'; 600])];
        assert_eq!(code(&long), Err(1009));
    }

    proptest! {
        #[test]
        fn rubbish_never_panics_and_keeps_little(input: Vec<u8>, size in 1usize..64) {
            let mut reader = MessageReader::new(Origin::Client, LIMITS);
            for piece in input.chunks(size) {
                if reader.feed(&mut piece.to_vec(), |_| Step::Continue).is_err() { break }
                prop_assert!(reader.kept() <= 2 * (LIMITS.max_bytes + 64));
            }
        }

        #[test]
        fn any_text_comes_through_any_pieces(text in "\\PC{0,300}", size in 1usize..700) {
            let mut reader = MessageReader::new(Origin::Client, LIMITS);
            let mut seen = Vec::new();
            if text.len() <= LIMITS.max_bytes {
                for piece in client_frame(0x81, text.as_bytes()).chunks(size) {
                    reader.feed(&mut piece.to_vec(), |message| {
                        if let Message::Text(text) = message { seen.push(text.to_owned()) }
                        Step::Continue
                    }).expect("valid");
                }
                prop_assert_eq!(seen, vec![text]);
            }
        }
    }
}
