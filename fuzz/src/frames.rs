//! Messages from frames.

use common::close::CloseCode;
use transport::{
    FrameError, Message, MessageReader, Step,
    frame::{MAX_CONTROL_PAYLOAD, MAX_HEADER, Origin},
    message::MessageLimits,
};

use super::pieces::Pieces;

/// A message that owns its bytes.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(CloseCode, String)>),
}

/// However the bytes are split, and wherever the handler pauses, the messages and the fault are
/// those of the whole. Nothing is longer than its limit, and little is kept.
pub fn frames(data: &[u8]) {
    let Some(pieces) = Pieces::of(data) else { return };
    let origin = if pieces.choices & 1 == 0 { Origin::Client } else { Origin::Server };
    let max_bytes = [16, 300, 70_000, 1 << 20][usize::from(pieces.choices >> 1 & 3)];
    let limits = MessageLimits { max_bytes, max_fragments: 4 };
    let pause_after = usize::from(pieces.choices >> 3 & 3);

    let whole = read(origin, limits, std::iter::once(pieces.stream), 0);
    let cut = read(origin, limits, pieces.iter(), pause_after);
    assert_eq!(whole, cut);
}

/// Reads the pieces until the first fault. Pauses after every so many messages; 0: never.
fn read<'a>(
    origin: Origin,
    limits: MessageLimits,
    pieces: impl Iterator<Item = &'a [u8]>,
    pause_after: usize,
) -> (Vec<Seen>, Option<FrameError>) {
    let mut reader = MessageReader::new(origin, limits);
    let mut seen = Vec::new();
    for piece in pieces {
        let mut input = piece.to_vec();
        loop {
            let step = reader.feed(&mut input, |message| {
                seen.push(own(&message, limits));
                if pause_after > 0 && seen.len().is_multiple_of(pause_after) { Step::Pause } else { Step::Continue }
            });
            match step {
                Ok(Step::Continue) => break,
                Ok(Step::Pause) => input.clear(),
                Err(error) => return (seen, Some(error)),
            }
        }
        let one_frame = MAX_HEADER + limits.max_bytes.max(MAX_CONTROL_PAYLOAD);
        assert!(reader.kept() <= limits.max_bytes + one_frame, "{} bytes are kept", reader.kept());
    }
    (seen, None)
}

fn own(message: &Message<'_>, limits: MessageLimits) -> Seen {
    match message {
        Message::Text(text) => {
            assert!(text.len() <= limits.max_bytes);
            Seen::Text((*text).to_owned())
        }
        Message::Ping(payload) => {
            assert!(payload.len() <= MAX_CONTROL_PAYLOAD);
            Seen::Ping(payload.to_vec())
        }
        Message::Pong(payload) => {
            assert!(payload.len() <= MAX_CONTROL_PAYLOAD);
            Seen::Pong(payload.to_vec())
        }
        Message::Close(close) => {
            assert!(close.is_none_or(|(code, _)| code.may_be_sent()));
            Seen::Close(close.map(|(code, reason)| (code, reason.to_owned())))
        }
    }
}
