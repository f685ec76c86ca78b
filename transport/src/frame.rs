//! One WebSocket frame: reading its header, masking, and encoding a frame once for any number of
//! receivers.
//!
//! RFC 6455, section 5. Everything here is pure.

use bytes::Bytes;
use common::close::CloseCode;

/// The longest header: two bytes, an eight-byte length, a four-byte mask.
pub const MAX_HEADER: usize = 14;
/// The longest payload of a control frame.
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpCode {
    /// Continues a fragmented message.
    Continuation,
    /// Text, or its first fragment.
    Text,
    /// Binary, or its first fragment.
    Binary,
    /// Closes the connection.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping.
    Pong,
}

impl OpCode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    /// Whether this is a control frame.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The end of the connection that sent the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client: its frames must be masked.
    Client,
    /// A server: its frames must not be.
    Server,
}

/// Why bytes are not acceptable frames. Each fault has its close code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A reserved bit is set, but no extension was negotiated.
    #[error("reserved bits are set")]
    ReservedBits,
    /// An opcode without a meaning.
    #[error("reserved opcode")]
    ReservedOpCode,
    /// A client's frame without a mask.
    #[error("frames from a client must be masked")]
    Unmasked,
    /// A server's frame with a mask.
    #[error("frames from a server must not be masked")]
    Masked,
    /// A control frame over 125 bytes, or in fragments.
    #[error("control frames must be whole and at most 125 bytes")]
    BadControl,
    /// A length not in its shortest form, or over 2^63.
    #[error("the frame's length is not in its shortest form")]
    BadLength,
    /// A continuation without a message to continue.
    #[error("a continuation without a start")]
    UnexpectedContinuation,
    /// A new message inside a fragmented one.
    #[error("a new message inside a fragmented one")]
    Interleaved,
    /// A close frame with one byte, a code that may not be sent, or a reason that is not UTF-8.
    #[error("bad close frame")]
    BadClose,
    /// A frame or message over the limit.
    #[error("the frame or message is over {limit} bytes")]
    TooBig {
        /// The limit in bytes.
        limit: usize,
    },
    /// A message of too many fragments.
    #[error("the message has more than {limit} fragments")]
    TooManyFragments {
        /// The limit.
        limit: usize,
    },
    /// Text that is not UTF-8.
    #[error("the text is not valid UTF-8")]
    InvalidUtf8,
    /// A binary frame where only text is allowed.
    #[error("binary frames are not accepted")]
    BinaryNotAccepted,
}

impl FrameError {
    /// The code to close with.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::TooBig { .. } | Self::TooManyFragments { .. } => CloseCode::TOO_BIG,
            Self::InvalidUtf8 => CloseCode::INVALID_UTF8,
            Self::BinaryNotAccepted => CloseCode::UNSUPPORTED,
            _ => CloseCode::PROTOCOL,
        }
    }
}

/// Reads the payload of a close frame; `None` without a code.
///
/// # Errors
/// One byte, a code that may not be sent, a reason that is not UTF-8.
pub fn read_close(payload: &[u8]) -> Result<Option<(CloseCode, &str)>, FrameError> {
    match payload {
        [] => Ok(None),
        [high, low, reason @ ..] => {
            let code = CloseCode(u16::from_be_bytes([*high, *low]));
            if !code.may_be_sent() {
                return Err(FrameError::BadClose);
            }
            Ok(Some((code, std::str::from_utf8(reason).map_err(|_| FrameError::InvalidUtf8)?)))
        }
        [_] => Err(FrameError::BadClose),
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whether it is the last of its message.
    pub fin: bool,
    /// Its kind.
    pub opcode: OpCode,
    /// The mask, if it has one.
    pub mask: Option<[u8; 4]>,
    /// Bytes of the header.
    pub header_len: usize,
    /// Bytes of the payload.
    pub payload_len: usize,
}

impl FrameHeader {
    /// Reads a header and checks it against the rules of the RFC and `max_payload`. `None` if more
    /// bytes are needed. Faults are reported as early as the bytes allow.
    ///
    /// # Errors
    /// The header breaks RFC 6455, or the payload is too long.
    pub fn read(bytes: &[u8], origin: Origin, max_payload: usize) -> Result<Option<Self>, FrameError> {
        let &[first, second, ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(FrameError::ReservedBits);
        }
        let fin = first & 0x80 != 0;
        let opcode = OpCode::from_bits(first & 0x0f).ok_or(FrameError::ReservedOpCode)?;
        let masked = second & 0x80 != 0;
        match (origin, masked) {
            (Origin::Client, false) => return Err(FrameError::Unmasked),
            (Origin::Server, true) => return Err(FrameError::Masked),
            _ => {}
        }
        let short = usize::from(second & 0x7f);
        if opcode.is_control() && (!fin || short > MAX_CONTROL_PAYLOAD) {
            return Err(FrameError::BadControl);
        }
        let (length, mask_at) = match short {
            126 => match bytes.get(2..4) {
                Some(&[high, low]) => (u64::from(u16::from_be_bytes([high, low])), 4),
                _ => return Ok(None),
            },
            127 => match bytes.get(2..10).and_then(|field| <[u8; 8]>::try_from(field).ok()) {
                Some(field) => (u64::from_be_bytes(field), 10),
                None => return Ok(None),
            },
            _ => (short as u64, 2),
        };
        let shortest = match short {
            126 => length > 125,
            127 => length > 0xffff && length >> 63 == 0,
            _ => true,
        };
        if !shortest {
            return Err(FrameError::BadLength);
        }
        let payload_len = usize::try_from(length).unwrap_or(usize::MAX);
        if payload_len > max_payload && !opcode.is_control() {
            return Err(FrameError::TooBig { limit: max_payload });
        }
        let (mask, header_len) = if masked {
            match bytes.get(mask_at..mask_at + 4).and_then(|mask| <[u8; 4]>::try_from(mask).ok()) {
                Some(mask) => (Some(mask), mask_at + 4),
                None => return Ok(None),
            }
        } else {
            (None, mask_at)
        };
        Ok(Some(Self { fin, opcode, mask, header_len, payload_len }))
    }
}

/// Applies a mask, or removes it: both are the same operation.
pub fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let word = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Appends the header of an unfragmented frame.
pub fn write_header(out: &mut Vec<u8>, opcode: OpCode, payload_len: usize, mask: Option<[u8; 4]>) {
    out.push(0x80 | opcode.bits());
    let mask_bit = if mask.is_some() { 0x80 } else { 0 };
    match (u8::try_from(payload_len), u16::try_from(payload_len)) {
        (Ok(length), _) if length < 126 => out.push(mask_bit | length),
        (_, Ok(length)) => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(payload_len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(mask.as_ref().map_or(&[], |mask| mask.as_slice()));
}

/// The length of a header.
fn header_len(payload_len: usize, is_masked: bool) -> usize {
    let extended = match payload_len {
        ..=125 => 0,
        126..=0xffff => 2,
        _ => 8,
    };
    2 + extended + if is_masked { 4 } else { 0 }
}

/// A complete encoded frame, for any number of sockets. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Bytes);

impl Frame {
    /// A server's text frame.
    pub fn text(text: &str) -> Self {
        Self::text_from(text.len(), |out| out.extend_from_slice(text.as_bytes()))
    }

    /// A server's text frame of `length` bytes that `write` appends: for text that is assembled
    /// from pieces.
    pub fn text_from(length: usize, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut out = Vec::with_capacity(header_len(length, false) + length);
        write_header(&mut out, OpCode::Text, length, None);
        write(&mut out);
        Self(out.into())
    }

    /// A server's binary frame.
    pub fn binary(payload: &[u8]) -> Self {
        let mut out = Vec::with_capacity(header_len(payload.len(), false) + payload.len());
        write_header(&mut out, OpCode::Binary, payload.len(), None);
        out.extend_from_slice(payload);
        Self(out.into())
    }

    /// A client's text frame. The mask is zero: between servers there is no proxy to protect from
    /// chosen bytes.
    pub fn client_text(text: &str) -> Self {
        let mut out = Vec::with_capacity(header_len(text.len(), true) + text.len());
        write_header(&mut out, OpCode::Text, text.len(), Some([0; 4]));
        out.extend_from_slice(text.as_bytes());
        Self(out.into())
    }

    /// An empty placeholder.
    pub(crate) const fn none() -> Self {
        Self(Bytes::new())
    }

    /// A server's ping without a payload.
    pub const fn ping() -> Self {
        Self(Bytes::from_static(&[0x89, 0]))
    }

    /// A server's ping with a payload, which the pong repeats. Payloads over 125 bytes are cut.
    pub fn ping_with(payload: &[u8]) -> Self {
        Self::control(OpCode::Ping, payload, None)
    }

    /// A server's pong. Payloads over 125 bytes are cut.
    pub fn pong(payload: &[u8]) -> Self {
        Self::control(OpCode::Pong, payload, None)
    }

    /// A client's pong. Payloads over 125 bytes are cut. The mask is zero, as in
    /// [`Frame::client_text`].
    pub fn client_pong(payload: &[u8]) -> Self {
        Self::control(OpCode::Pong, payload, Some([0; 4]))
    }

    /// A close frame. The reason is cut to the 123 bytes that fit, at a character boundary. `mask`
    /// is `Some` for a client's.
    pub fn close(code: CloseCode, reason: &str, mask: Option<[u8; 4]>) -> Self {
        let mut end = reason.len().min(MAX_CONTROL_PAYLOAD - 2);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let mut payload = code.0.to_be_bytes().to_vec();
        payload.extend_from_slice(&reason.as_bytes()[..end]);
        Self::control(OpCode::Close, &payload, mask)
    }

    /// Bytes that are already complete frames, such as those of a [`crate::RawFrame`].
    pub fn from_encoded(bytes: Bytes) -> Self {
        Self(bytes)
    }

    fn control(opcode: OpCode, payload: &[u8], mask: Option<[u8; 4]>) -> Self {
        let payload = &payload[..payload.len().min(MAX_CONTROL_PAYLOAD)];
        let mut out = Vec::with_capacity(6 + payload.len());
        write_header(&mut out, opcode, payload.len(), mask);
        let start = out.len();
        out.extend_from_slice(payload);
        if let Some(mask) = mask {
            apply_mask(&mut out[start..], mask);
        }
        Self(out.into())
    }

    /// Length in bytes, including the header.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: a frame has a header.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The payload of a server's frame, which shares its bytes.
    pub fn payload(&self) -> Bytes {
        self.0.slice(self.payload_at()..)
    }

    /// The payload of a server's text frame.
    pub fn payload_text(&self) -> &str {
        self.0.get(self.payload_at()..).and_then(|payload| std::str::from_utf8(payload).ok()).unwrap_or_default()
    }

    fn payload_at(&self) -> usize {
        let header = match self.0.get(1) {
            Some(127) => 10,
            Some(126) => 4,
            _ => 2,
        };
        header.min(self.0.len())
    }

    /// The bytes for the socket.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The encoded bytes of a frame that is no longer needed.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codes_and_reasons_of_close_frames_are_read_and_nonsense_is_refused() {
        assert_eq!(read_close(&[]), Ok(None));
        assert_eq!(read_close(b"\x0f\xa3bye"), Ok(Some((CloseCode::SESSION_ENDED, "bye"))));
        assert_eq!(read_close(&[3]), Err(FrameError::BadClose));
        assert_eq!(read_close(&1006_u16.to_be_bytes()), Err(FrameError::BadClose));
        assert_eq!(read_close(&[3, 232, 0xff]), Err(FrameError::InvalidUtf8));
    }

    #[test]
    fn faults_are_found_in_the_first_bytes() {
        let read = |bytes: &[u8]| FrameHeader::read(bytes, Origin::Client, 1000);
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[0x81]), Ok(None));
        assert_eq!(read(&[0xc1, 0x80]), Err(FrameError::ReservedBits));
        assert_eq!(read(&[0x83, 0x80]), Err(FrameError::ReservedOpCode));
        assert_eq!(read(&[0x81, 0x00]), Err(FrameError::Unmasked));
        assert_eq!(read(&[0x89, 0x80 | 126]), Err(FrameError::BadControl));
        assert_eq!(read(&[0x09, 0x80]), Err(FrameError::BadControl));
        assert_eq!(read(&[0x81, 0x80 | 126, 0, 125]), Err(FrameError::BadLength));
        assert_eq!(read(&[0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), Err(FrameError::BadLength));
        assert_eq!(read(&[0x81, 0x80 | 127, 0xff, 0, 0, 0, 0, 1, 0, 0]), Err(FrameError::BadLength));
        assert_eq!(read(&[0x81, 0x80 | 127, 0, 0, 1, 0, 0, 0, 0, 0]), Err(FrameError::TooBig { limit: 1000 }));
        assert_eq!(FrameHeader::read(&[0x81, 0x80], Origin::Server, 1000), Err(FrameError::Masked));
    }

    #[test]
    fn a_text_frame_gives_its_payload_back() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let text = "x".repeat(length);
            assert_eq!(Frame::text(&text).payload_text(), text);
            assert_eq!(Frame::text(&text).payload(), text);
        }
    }

    #[test]
    fn close_reason_is_cut_at_a_character() {
        let frame = Frame::close(CloseCode::SLOW_CONSUMER, &"é".repeat(100), None);
        assert_eq!(frame.len(), 2 + 2 + 122);
    }

    proptest! {
        #[test]
        fn headers_survive_a_round_trip(length in 0usize..200_000, mask: Option<[u8; 4]>) {
            let mut out = Vec::new();
            write_header(&mut out, OpCode::Text, length, mask);
            let origin = if mask.is_some() { Origin::Client } else { Origin::Server };
            let header = FrameHeader::read(&out, origin, usize::MAX).expect("valid").expect("whole");
            prop_assert_eq!(header, FrameHeader { fin: true, opcode: OpCode::Text, mask, header_len: out.len(), payload_len: length });
            for cut in 0..out.len() {
                prop_assert_eq!(FrameHeader::read(&out[..cut], origin, usize::MAX), Ok(None));
            }
        }

        #[test]
        fn masking_equals_the_rfc_algorithm(mut payload: Vec<u8>, mask: [u8; 4]) {
            let expected: Vec<u8> = payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect();
            apply_mask(&mut payload, mask);
            prop_assert_eq!(payload, expected);
        }
    }
}
