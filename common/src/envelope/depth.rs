//! Checks how deep a text nests, before anything is parsed.

use crate::error::{ClientError, ErrorCode};

/// Refuses nesting deeper than `max_depth`. A text with at most that many opening brackets cannot
/// nest deeper, and a vector unit counts them; only texts with more are scanned.
pub(super) fn check_depth(text: &[u8], max_depth: usize) -> Result<(), ClientError> {
    // `[` and `{` differ in one bit.
    let openers: usize =
        text.chunks(128).map(|chunk| usize::from(chunk.iter().map(|byte| u8::from(byte | 0x20 == b'{')).sum::<u8>())).sum();
    if openers <= max_depth || depth(text) <= max_depth {
        return Ok(());
    }
    Err(ClientError::with_message(ErrorCode::InvalidEnvelope, format!("nested deeper than {max_depth} levels")))
}

/// The deepest nesting of brackets outside strings.
fn depth(text: &[u8]) -> usize {
    let (mut level, mut deepest) = (0_usize, 0_usize);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                level += 1;
                deepest = deepest.max(level);
            }
            b']' | b'}' => level = level.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => {
                            bytes.next();
                        }
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}
