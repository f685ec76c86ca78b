//! Reading payloads.

use serde::Deserialize;

use crate::error::{ClientError, ErrorCode};

/// Reads a payload; an absent one counts as `{}`.
///
/// # Errors
/// `invalid_payload`, saying what is wrong.
pub fn read_payload<'a, T: Deserialize<'a>>(payload: Option<&'a str>) -> Result<T, ClientError> {
    serde_json::from_str(payload.unwrap_or("{}"))
        .map_err(|error| ClientError::with_message(ErrorCode::InvalidPayload, format!("invalid payload: {error}")))
}
