//! What goes wrong at a door.

use std::{fmt, time::Duration};

use common::{
    close::CloseCode,
    error::{ClientError, ErrorCode},
};
use serde::Deserialize;

use super::incoming::Incoming;

/// A refusal by the bridge: the payload of `system:error`, or the body of an HTTP refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeError {
    /// The permanent code; `None` where a later bridge has one that this version does not know.
    pub code: Option<ErrorCode>,
    /// The code as it is written on the wire.
    pub code_text: String,
    /// What went wrong and what to do.
    pub message: String,
    /// Whether the same message can succeed later.
    pub temporary: bool,
    /// The address that it is about.
    pub target: Option<String>,
    /// How long to wait before the next try.
    pub retry_after: Option<Duration>,
}

#[derive(Deserialize)]
struct Raw {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    temporary: bool,
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    retry_after_ms: Option<u64>,
}

impl From<Raw> for BridgeError {
    fn from(raw: Raw) -> Self {
        Self {
            code: ErrorCode::parse(&raw.code),
            code_text: raw.code,
            message: raw.message,
            temporary: raw.temporary,
            target: raw.target,
            retry_after: raw.retry_after_ms.map(Duration::from_millis),
        }
    }
}

impl From<ErrorCode> for BridgeError {
    fn from(code: ErrorCode) -> Self {
        let row = code.row();
        Self {
            code: Some(code),
            code_text: row.code.to_owned(),
            message: row.meaning.to_owned(),
            temporary: row.temporary,
            target: None,
            retry_after: None,
        }
    }
}

impl From<ClientError> for BridgeError {
    fn from(error: ClientError) -> Self {
        let ClientError { code, message, temporary, target, retry_after_ms } = error;
        let retry_after = retry_after_ms.map(Duration::from_millis);
        Self { code: Some(code), code_text: code.as_str().to_owned(), message, temporary, target, retry_after }
    }
}

impl BridgeError {
    /// What a `system:error` says. One that cannot be read counts as `internal`.
    pub(super) fn of(message: &Incoming) -> Self {
        message.payload::<Raw>().map_or_else(|_| ErrorCode::Internal.into(), Self::from)
    }

    /// What the body of an HTTP refusal says; `None` if it is not the bridge's.
    pub(super) fn of_body(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body {
            error: Raw,
        }
        serde_json::from_slice::<Body>(body).ok().map(|body| body.error.into())
    }
}

impl fmt::Display for BridgeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.code_text, self.message)
    }
}

/// Why a call at a door failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    /// The bridge refused.
    #[error("the bridge refused: {0}")]
    Refused(BridgeError),
    /// No answer came within the time limit. Whether the message arrived is not known.
    #[error("no answer came in time")]
    TimedOut,
    /// The connection was lost after the request was sent and before it was answered. Whether it was carried out is not known.
    #[error("the connection was lost before the answer came")]
    Interrupted,
    /// The door is closed, or is being drained, and takes nothing more.
    #[error("the door is closed")]
    Closed,
    /// As much waits to be sent as may; only [`super::Door::try_send`] says so, the others wait.
    #[error("the queue of the door is full")]
    Full,
    /// As many calls wait for their answers as may.
    #[error("{limit} calls already wait for their answers")]
    TooManyPending {
        /// The bound.
        limit: usize,
    },
    /// The message is longer than the broker takes. Sent, it would cost the connection.
    #[error("the message is longer than the broker's limit of {limit} bytes")]
    TooBig {
        /// The broker's limit.
        limit: usize,
    },
    /// Another call with the same message id waits for its answer.
    #[error("a message with this id already waits for its answer")]
    DuplicateId,
}

/// Why a door was closed for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    /// This side closed it.
    #[error("closed by this side")]
    Ours,
    /// The broker refused the connection and would refuse it again.
    #[error("the broker refused the connection with status {status}: {error}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the broker said.
        error: BridgeError,
    },
    /// The broker closed the connection with a code after which a client does not come back by itself.
    #[error("the broker closed the connection with {}: {reason}", code.0)]
    Closed {
        /// The close code.
        code: CloseCode,
        /// What the broker said.
        reason: String,
    },
    /// No request can be made of the options.
    #[error("the options are invalid: {0}")]
    Misconfigured(String),
}
