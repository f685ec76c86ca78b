//! Reading payloads.

use serde::Deserialize;

use crate::{
    error::{ClientError, ErrorCode},
    secret::json_fault,
};

/// Reads a payload; an absent one counts as `{}`.
///
/// # Errors
/// `invalid_payload`, saying what is wrong.
pub fn read_payload<'a, T: Deserialize<'a>>(payload: Option<&'a str>) -> Result<T, ClientError> {
    read(payload, serde_json::Error::to_string)
}

/// The same for a payload with a secret: the error does not quote what was sent.
pub(super) fn read_secret<'a, T: Deserialize<'a>>(payload: Option<&'a str>) -> Result<T, ClientError> {
    read(payload, json_fault)
}

fn read<'a, T: Deserialize<'a>>(payload: Option<&'a str>, describe: fn(&serde_json::Error) -> String) -> Result<T, ClientError> {
    serde_json::from_str(payload.unwrap_or("{}"))
        .map_err(|error| ClientError::with_message(ErrorCode::InvalidPayload, format!("invalid payload: {}", describe(&error))))
}
