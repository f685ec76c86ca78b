//! What the bridge writes into a durable message: its position, and that it comes again.

use store::{ChannelName, Epoch};
use transport::Frame;

/// The message with its position in front.
pub fn positioned(text: &str, channel: &ChannelName, epoch: Epoch, seq: u64, prev: u64) -> Frame {
    let position = format!("{{\"channel\":\"{channel}\",\"epoch\":\"{epoch}\",\"seq\":{seq},\"prev\":{prev},");
    in_front(&position, text.as_bytes())
}

/// A stored message, with how often it was delivered before, if it was.
pub fn redelivered(text: &[u8], attempts: u32) -> Frame {
    match attempts {
        0 => in_front("{", text),
        _ => in_front(&format!("{{\"redelivered\":{attempts},"), text),
    }
}

/// A stored message, marked as the value that a topic retains.
pub fn retained(text: &[u8]) -> Frame {
    in_front("{\"retained\":true,", text)
}

/// Inserts fields before those of an object that has at least one: stamped frames always have a
/// source.
fn in_front(fields: &str, text: &[u8]) -> Frame {
    let rest = text.strip_prefix(b"{").unwrap_or(text);
    Frame::text_from(fields.len() + rest.len(), |out| {
        out.extend_from_slice(fields.as_bytes());
        out.extend_from_slice(rest);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_in_front_and_the_rest_is_untouched() {
        let channel = ChannelName::parse("agent:a").expect("a channel");
        let frame = positioned(r#"{"source":"x", "payload":[ 1 ]}"#, &channel, Epoch::fresh(), 7, 3);
        assert_eq!(redelivered(&frame.payload(), 0), frame);
        let frame = redelivered(&frame.payload(), 2);
        let text = frame.payload_text();
        let value: serde_json::Value = serde_json::from_str(text).expect("json");
        assert_eq!((&value["seq"], &value["prev"], &value["redelivered"]), (&7.into(), &3.into(), &2.into()));
        assert_eq!(value["channel"], "agent:a");
        assert!(text.ends_with(r#""source":"x", "payload":[ 1 ]}"#));
    }
}
