//! The content of a close frame. Pure.

use common::close::CloseCode;
use transport::{End, FrameError};

/// Reads the payload of a close frame.
///
/// # Errors
/// One byte, a code that may not be sent, a reason that is not UTF-8.
pub fn read(payload: &[u8]) -> Result<End, FrameError> {
    match payload {
        [] => Ok(End { code: CloseCode::NO_CODE, reason: String::new() }),
        [high, low, reason @ ..] => {
            let code = CloseCode(u16::from_be_bytes([*high, *low]));
            if !code.may_be_sent() {
                return Err(FrameError::BadClose);
            }
            let reason = std::str::from_utf8(reason).map_err(|_| FrameError::InvalidUtf8)?;
            Ok(End { code, reason: reason.to_owned() })
        }
        [_] => Err(FrameError::BadClose),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_reasons_are_read_and_nonsense_is_refused() {
        assert_eq!(read(&[]), Ok(End { code: CloseCode::NO_CODE, reason: String::new() }));
        assert_eq!(read(b"\x0f\xa3bye"), Ok(End { code: CloseCode::SESSION_ENDED, reason: "bye".to_owned() }));
        assert_eq!(read(&[3]), Err(FrameError::BadClose));
        assert_eq!(read(&1006_u16.to_be_bytes()), Err(FrameError::BadClose));
        assert_eq!(read(&[3, 232, 0xff]), Err(FrameError::InvalidUtf8));
    }
}
