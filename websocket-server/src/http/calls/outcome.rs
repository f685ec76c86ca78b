//! What the bridge tells a caller on its link. Pure.

use common::error::{ClientError, ErrorCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use transport::Frame;

/// The head of a message of the bridge.
#[derive(Deserialize)]
pub struct Told<'a> {
    /// Its type.
    #[serde(borrow, rename = "type")]
    pub kind: std::borrow::Cow<'a, str>,
    /// The id of the message that it is about.
    #[serde(borrow, default)]
    pub correlation_id: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

/// The payload of `message:accepted`.
#[derive(Debug, Deserialize)]
pub struct Stored {
    /// The channel.
    pub channel: String,
    /// Its epoch.
    pub epoch: String,
    /// The position.
    pub seq: u64,
    /// Whether it was stored before under the same id.
    pub duplicate: bool,
}

#[derive(Deserialize)]
struct RawError {
    code: String,
    message: String,
    temporary: bool,
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    retry_after_ms: Option<u64>,
}

impl<'a> Told<'a> {
    /// Reads a frame of the bridge; `None` for a ping and for what is not about this message.
    pub fn about(frame: &'a Frame, id: &str) -> Option<Self> {
        Self::read(frame).filter(|told| told.correlation_id.as_deref() == Some(id))
    }

    /// Reads a frame of the bridge; `None` for a ping.
    pub fn read(frame: &'a Frame) -> Option<Self> {
        serde_json::from_str(frame.payload_text()).ok()
    }

    /// Its payload, if that has this shape.
    pub fn payload<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::from_str(self.payload?.get()).ok()
    }

    /// The confirmation that a message is stored.
    pub fn stored(&self) -> Option<Stored> {
        self.payload().filter(|_| self.kind == "message:accepted")
    }

    /// The error, if it is one.
    pub fn error(&self) -> Option<ClientError> {
        let is_error = self.kind == "system:error";
        is_error.then(|| self.payload::<RawError>().map_or_else(|| ErrorCode::Internal.into(), ClientError::from))
    }
}

impl From<RawError> for ClientError {
    fn from(raw: RawError) -> Self {
        let RawError { code, message, temporary, target, retry_after_ms } = raw;
        Self { code: ErrorCode::parse(&code).unwrap_or(ErrorCode::Internal), message, temporary, target, retry_after_ms }
    }
}

#[cfg(test)]
mod tests {
    use common::message::{Speaker, SystemMessage};

    use super::*;

    fn frame(message: &SystemMessage) -> Frame {
        Frame::text(&message.encode(Speaker::Bridge, None, Some("1")))
    }

    #[test]
    fn what_the_bridge_tells_about_a_message_is_understood() {
        let (channel, epoch) = ("agent:a".to_owned(), "e".to_owned());
        let accepted = frame(&SystemMessage::Accepted { channel, epoch, seq: 7, duplicate: true });
        let stored = Told::about(&accepted, "1").and_then(|told| told.stored()).expect("stored");
        assert_eq!((stored.channel.as_str(), stored.epoch.as_str(), stored.seq, stored.duplicate), ("agent:a", "e", 7, true));
        assert!(Told::about(&accepted, "2").is_none() && Told::about(&Frame::ping_with(b"7"), "1").is_none());
        let error = ClientError::new(ErrorCode::LoopStopped).about("topic:t").after(std::time::Duration::from_secs(1));
        let refused = frame(&SystemMessage::Error(error.clone()));
        assert_eq!(Told::about(&refused, "1").and_then(|told| told.error()), Some(error));
    }
}
