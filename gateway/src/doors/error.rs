//! The errors of a door.

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
    /// The permanent code; `None` if this version does not know it.
    pub code: Option<ErrorCode>,
    /// The code on the wire.
    pub code_text: String,
    /// What went wrong and what to do.
    pub message: String,
    /// Whether the same message can succeed later.
    pub temporary: bool,
    /// The address that the error is about.
    pub target: Option<String>,
    /// How long to wait before the next attempt.
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
    /// The content of a `system:error`. One that cannot be read counts as `internal`.
    pub fn of(message: &Incoming) -> Self {
        message.payload::<Raw>().map_or_else(|_| ErrorCode::Internal.into(), Self::from)
    }

    /// The content of an HTTP refusal's body; `None` if it is not the bridge's.
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
    /// No answer came within the time limit. Whether the message arrived is unknown.
    #[error("no answer came in time")]
    TimedOut,
    /// The connection was lost after the request was sent and before it was answered. Whether it
    /// was carried out is unknown.
    #[error("the connection was lost before the answer came")]
    Interrupted,
    /// The door is closed or being drained, and accepts nothing more.
    #[error("the door is closed")]
    Closed,
    /// The queue of messages to be sent is full. Only [`super::Door::try_send`] returns this; the
    /// others wait.
    #[error("the queue of the door is full")]
    Full,
    /// The limit of calls that wait for their answers is reached.
    #[error("{limit} calls already wait for their answers")]
    TooManyPending {
        /// The limit.
        limit: usize,
    },
    /// The message is longer than the broker's limit. Sending it would cost the connection.
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
        /// The broker's error.
        error: BridgeError,
    },
    /// The broker closed the connection with a code after which a client must not come back by
    /// itself.
    #[error("the broker closed the connection with {}: {reason}", code.0)]
    Closed {
        /// The close code.
        code: CloseCode,
        /// The broker's reason.
        reason: String,
    },
    /// The options do not give a valid request.
    #[error("the options are invalid: {0}")]
    Misconfigured(String),
}
