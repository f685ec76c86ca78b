//! What the bridge writes into a durable message: its position, and that it comes again.

use store::{ChannelName, Epoch};

/// The frame's text with its position in front.
pub fn positioned(text: &str, channel: &ChannelName, epoch: Epoch, seq: u64, prev: u64) -> String {
    let position = format!("{{\"channel\":\"{channel}\",\"epoch\":\"{epoch}\",\"seq\":{seq},\"prev\":{prev},");
    in_front(&position, text)
}

/// The frame's text with how often it was delivered before, if it was.
pub fn redelivered(text: &str, attempts: u32) -> String {
    if attempts == 0 { text.to_owned() } else { in_front(&format!("{{\"redelivered\":{attempts},"), text) }
}

/// The frame's text, marked as the value that a topic retains.
pub fn retained(text: &str) -> String {
    in_front("{\"retained\":true,", text)
}

/// Puts fields before those of an object that has at least one: stamped frames always have a source.
fn in_front(fields: &str, text: &str) -> String {
    let rest = text.strip_prefix('{').unwrap_or(text);
    let mut out = String::with_capacity(fields.len() + rest.len());
    out.push_str(fields);
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_in_front_and_the_rest_is_untouched() {
        let channel = ChannelName::parse("agent:a").expect("a channel");
        let text = positioned(r#"{"source":"x", "payload":[ 1 ]}"#, &channel, Epoch::fresh(), 7, 3);
        let text = redelivered(&text, 2);
        let value: serde_json::Value = serde_json::from_str(&text).expect("json");
        assert_eq!((&value["seq"], &value["prev"], &value["redelivered"]), (&7.into(), &3.into(), &2.into()));
        assert_eq!(value["channel"], "agent:a");
        assert!(text.ends_with(r#""source":"x", "payload":[ 1 ]}"#));
    }
}
