//! The parts that the raw relay (`src/bin/relay.rs`) shares with the generator: frames, and the
//! server's side of the upgrade.

use std::io;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

pub use crate::net::{Opcode, put_server_header};
pub use crate::protocol::Op;

use crate::net::{apply_mask, header};

/// Longest request head, in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// What a frame contains.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A whole message.
    Message(&'a [u8]),
    /// A ping, to be answered with the same payload.
    Ping(&'a [u8]),
    /// The peer closes the connection.
    Close,
}

/// Reads the frames in a piece of a client's bytes. They are unmasked in place.
pub struct Frames<'a> {
    bytes: &'a mut [u8],
    used: usize,
}

impl<'a> Frames<'a> {
    /// The frames in `bytes`, from the first byte on.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, used: 0 }
    }

    /// The next whole frame. Pongs are skipped. Fragmented messages are not supported.
    ///
    /// # Errors
    /// A frame that no client may send, or a part of a message.
    #[expect(clippy::should_implement_trait, reason = "what it returns borrows from it")]
    pub fn next(&mut self) -> io::Result<Option<Received<'_>>> {
        loop {
            let start = self.used;
            let Some(head) = header(self.bytes.get(start..).unwrap_or_default()).map_err(io::Error::other)? else {
                return Ok(None);
            };
            let range = start + head.head..start + head.total();
            if range.end > self.bytes.len() {
                return Ok(None);
            }
            let mask = head.mask.filter(|_| head.fin).ok_or(io::ErrorKind::InvalidData)?;
            self.used = range.end;
            if head.opcode == Opcode::Pong {
                continue;
            }
            let payload = self.bytes.get_mut(range).unwrap_or_default();
            apply_mask(payload, mask);
            return Ok(Some(match head.opcode {
                Opcode::Text | Opcode::Binary => Received::Message(payload),
                Opcode::Ping => Received::Ping(payload),
                _ => Received::Close,
            }));
        }
    }

    /// How many bytes have been read as frames.
    pub fn used(&self) -> usize {
        self.used
    }
}

/// The answer to an upgrade request, and the length of the request; `None` while the request is not
/// complete.
///
/// # Errors
/// The request is too long, or asks for no WebSocket.
pub fn upgrade_answer(bytes: &[u8]) -> io::Result<Option<(usize, String)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > MAX_HEAD { Err(io::ErrorKind::InvalidData.into()) } else { Ok(None) };
    };
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
    let key = head
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find_map(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim()))
        .ok_or(io::ErrorKind::InvalidData)?;
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Ok(Some((end + 4, answer)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::put_client_frame;

    #[test]
    fn frames_come_one_by_one_and_the_last_may_be_cut() {
        let mut bytes = Vec::new();
        put_client_frame(&mut bytes, Opcode::Binary, [1, 2, 3, 4], &[b"one"]);
        put_client_frame(&mut bytes, Opcode::Pong, [1, 2, 3, 4], &[b""]);
        put_client_frame(&mut bytes, Opcode::Ping, [5, 6, 7, 8], &[b"p"]);
        let whole = bytes.len();
        put_client_frame(&mut bytes, Opcode::Binary, [5, 6, 7, 8], &[b"two"]);
        let cut = bytes.len() - 1;
        let mut frames = Frames::new(&mut bytes[..cut]);
        assert_eq!(frames.next().expect("valid"), Some(Received::Message(b"one")));
        assert_eq!(frames.next().expect("valid"), Some(Received::Ping(b"p")));
        assert_eq!(frames.next().expect("valid"), None);
        assert_eq!(frames.used(), whole);
    }

    #[test]
    fn the_upgrade_is_answered_as_the_rfc_says() {
        let request = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nrest";
        let (length, answer) = upgrade_answer(request).expect("valid").expect("complete");
        assert_eq!(&request[length..], b"rest");
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(upgrade_answer(&request[..20]).expect("valid").is_none());
    }
}
