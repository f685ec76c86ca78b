//! WebSocket frames (RFC 6455) as bytes, parsed in place.
//!
//! Headers, masks and close codes for both directions: the generator reads unmasked frames and
//! writes masked ones, the raw relay the reverse. This module uses no socket. Extensions are not
//! supported: a reserved bit is an error.

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of a fragmented message.
    Continuation,
    /// A text message or its first fragment.
    Text,
    /// A binary message or its first fragment.
    Binary,
    /// Close, with an optional code and reason.
    Close,
    /// Ping.
    Ping,
    /// Pong.
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Result<Self, FrameError> {
        Ok(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            other => return Err(FrameError::Opcode(other)),
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A reserved bit is set although no extension was agreed.
    #[error("reserved bits are set")]
    ReservedBits,
    /// An opcode without a meaning.
    #[error("opcode {0:#x} has no meaning")]
    Opcode(u8),
    /// The frame is masked where it must not be, or unmasked where it must be masked.
    #[error("the frame is masked the wrong way round")]
    Mask,
    /// The frame is larger than this tool accepts.
    #[error("the frame claims {0} bytes")]
    TooLarge(u64),
}

/// The largest frame that is accepted, in bytes: more than any server here may send at once.
const MAX_FRAME: u64 = 256 * 1024 * 1024;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether this frame ends the message.
    pub fin: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// The mask, on frames from a client.
    pub mask: Option<[u8; 4]>,
    /// Bytes of the header itself.
    pub head: usize,
    /// Bytes of the payload after it.
    pub body: usize,
}

impl Header {
    /// Bytes of the whole frame.
    pub fn total(&self) -> usize {
        self.head + self.body
    }
}

/// Reads the header at the start of `bytes`; `None` while it is not complete.
pub fn header(bytes: &[u8]) -> Result<Option<Header>, FrameError> {
    let &[first, second, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err(FrameError::ReservedBits);
    }
    let opcode = Opcode::from_bits(first & 0x0f)?;
    let (body, rest, mut head) = match second & 0x7f {
        126 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest, 4),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest, 10),
            None => return Ok(None),
        },
        short => (u64::from(short), rest, 2),
    };
    if body > MAX_FRAME {
        return Err(FrameError::TooLarge(body));
    }
    let mask = if second & 0x80 == 0 {
        None
    } else if let Some((mask, _)) = rest.split_first_chunk::<4>() {
        head += 4;
        Some(*mask)
    } else {
        return Ok(None);
    };
    let body = usize::try_from(body).map_err(|_| FrameError::TooLarge(body))?;
    Ok(Some(Header { fin: first & 0x80 != 0, opcode, mask, head, body }))
}

/// Appends an unmasked frame header for a payload of `body` bytes, as a server writes it.
pub fn put_server_header(out: &mut Vec<u8>, opcode: Opcode, body: usize) {
    put_header(out, opcode, body, 0);
}

/// Appends a whole masked frame, as a client writes it. Its payload is `parts`, one after the
/// other.
pub fn put_client_frame(out: &mut Vec<u8>, opcode: Opcode, mask: [u8; 4], parts: &[&[u8]]) {
    let body = parts.iter().map(|part| part.len()).sum();
    out.reserve(body + 14);
    put_header(out, opcode, body, 0x80);
    out.extend_from_slice(&mask);
    let start = out.len();
    for part in parts {
        out.extend_from_slice(part);
    }
    if let Some(payload) = out.get_mut(start..) {
        apply_mask(payload, mask);
    }
}

fn put_header(out: &mut Vec<u8>, opcode: Opcode, body: usize, mask_bit: u8) {
    out.push(0x80 | opcode.bits());
    if let Ok(short @ 0..=125) = u8::try_from(body) {
        out.push(mask_bit | short);
    } else if let Ok(medium) = u16::try_from(body) {
        out.push(mask_bit | 126);
        out.extend_from_slice(&medium.to_be_bytes());
    } else {
        out.push(mask_bit | 127);
        out.extend_from_slice(&(body as u64).to_be_bytes());
    }
}

/// Masks or unmasks `bytes` in place.
pub fn apply_mask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Ok(word) = <[u8; 8]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
        }
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// The code in the payload of a Close frame; 1005 (none given) if it has none.
pub fn close_code(payload: &[u8]) -> u16 {
    payload.first_chunk::<2>().map_or(1005, |code| u16::from_be_bytes(*code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        put_client_frame(&mut frame, opcode, [1, 2, 3, 4], &[payload]);
        frame
    }

    #[test]
    fn every_length_form_comes_back() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_001] {
            let payload: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let mut frame = client_frame(Opcode::Text, &payload);
            let parsed = header(&frame).expect("valid").expect("complete");
            assert_eq!((parsed.fin, parsed.opcode, parsed.body, parsed.mask), (true, Opcode::Text, length, Some([1, 2, 3, 4])));
            assert_eq!(parsed.total(), frame.len());
            apply_mask(&mut frame[parsed.head..], [1, 2, 3, 4]);
            assert_eq!(&frame[parsed.head..], payload);

            let mut plain = Vec::new();
            put_server_header(&mut plain, Opcode::Binary, length);
            let parsed = header(&plain).expect("valid").expect("complete");
            assert_eq!((parsed.opcode, parsed.body, parsed.head, parsed.mask), (Opcode::Binary, length, plain.len(), None));
        }
    }

    #[test]
    fn a_header_cut_anywhere_is_incomplete() {
        for length in [5, 300, 70_000] {
            let frame = client_frame(Opcode::Binary, &vec![7; length]);
            let head = header(&frame).expect("valid").expect("complete").head;
            for cut in 0..head {
                assert_eq!(header(&frame[..cut]), Ok(None), "cut at {cut} of {head}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_frame_are_refused() {
        assert_eq!(header(&[0xc1, 0]), Err(FrameError::ReservedBits));
        assert_eq!(header(&[0x83, 0]), Err(FrameError::Opcode(3)));
        let huge = [0x82, 127, 0x10, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(header(&huge), Err(FrameError::TooLarge(1 << 60)));
    }

    #[test]
    fn every_byte_is_masked_with_its_key() {
        let original: Vec<u8> = (0..=255).collect();
        let mask = [9, 80, 7, 200];
        for length in 0..original.len() {
            let mut bytes = original[..length].to_vec();
            apply_mask(&mut bytes, mask);
            let expected: Vec<u8> = (0..length).map(|index| original[index] ^ mask[index % 4]).collect();
            assert_eq!(bytes, expected);
        }
    }

    #[test]
    fn close_codes_are_read() {
        assert_eq!(close_code(&[0x0f, 0xa8, b's']), 4008);
        assert_eq!(close_code(&[]), 1005);
    }
}
