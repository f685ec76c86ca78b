//! Server-sent events as text: how an event is written, and the ids with which a reader names its
//! position. Pure.
//!
//! The format is that of the HTML standard, section 9.2. The id of an event is `<epoch>:<seq>`, the
//! position of the message in its channel. A reader that reconnects sends the last one in
//! `Last-Event-ID`.

use common::message::{KnownPosition, Start};

/// The longest epoch that is accepted, in characters.
const LONGEST_EPOCH: usize = 64;

/// A comment, which readers ignore: it shows that the stream is alive.
pub const HEARTBEAT: &str = ":\n\n";

/// Writes an event. Without a `name`, a browser's `onmessage` gets it; without an `id`, the
/// reader's position stays.
pub fn write_event(out: &mut String, id: Option<&KnownPosition>, name: Option<&str>, data: &str) {
    if let Some(KnownPosition { epoch, seq }) = id {
        out.push_str("id: ");
        out.push_str(epoch);
        out.push(':');
        out.push_str(&seq.to_string());
        out.push('\n');
    }
    if let Some(name) = name {
        // The sender chooses the type: a line break in it would start another field.
        out.push_str("event: ");
        out.extend(name.chars().filter(|letter| !matches!(letter, '\r' | '\n')));
        out.push('\n');
    }
    // A payload may have line breaks between its tokens. The reader joins the lines again.
    for line in data.split(['\r', '\n']) {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
}

/// Parses `<epoch>:<seq>`, or a `<seq>` of the current epoch.
pub fn read_position(text: &str) -> Option<Start> {
    let (epoch, seq) = match text.rsplit_once(':') {
        Some((epoch, seq)) => (Some(epoch), seq),
        None => (None, text),
    };
    let is_epoch = |epoch: &str| {
        (1..=LONGEST_EPOCH).contains(&epoch.len()) && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_good = epoch.is_none_or(is_epoch) && seq.bytes().all(|byte| byte.is_ascii_digit());
    let seq = seq.parse().ok().filter(|_| is_good)?;
    Some(Start::After { epoch: epoch.map(str::to_owned), seq })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The events that a browser reads from a stream: id, name and data of each, by the rules of
    /// the standard.
    fn read(stream: &str) -> Vec<(Option<String>, String, String)> {
        let (mut events, mut id, mut name, mut data) = (Vec::new(), None, String::new(), Vec::new());
        for line in stream.replace("\r\n", "\n").split(['\r', '\n']) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() && !data.is_empty() => {
                    events.push((id.take(), std::mem::take(&mut name), std::mem::take(&mut data).join("\n")));
                }
                "id" => id = Some(value.to_owned()),
                "event" => name = value.to_owned(),
                "data" => data.push(value.to_owned()),
                _ => {}
            }
        }
        events
    }

    #[test]
    fn an_event_has_its_position_its_name_and_its_data() {
        let position = KnownPosition { epoch: "3fd2".into(), seq: 7 };
        let mut out = HEARTBEAT.to_owned();
        write_event(&mut out, Some(&position), None, r#"{"type":"job:new"}"#);
        write_event(&mut out, None, Some("system:lost"), "{}");
        assert_eq!(out, ":\n\nid: 3fd2:7\ndata: {\"type\":\"job:new\"}\n\nevent: system:lost\ndata: {}\n\n");
        assert_eq!(read_position("3fd2:7"), Some(Start::After { epoch: Some("3fd2".into()), seq: 7 }));
        assert_eq!(read_position("0"), Some(Start::After { epoch: None, seq: 0 }));
        for bad in
            ["", ":", ":7", "3fd2:", "a b:7", "3fd2:-1", "+7", "3fd2:99999999999999999999", &format!("{}:1", "e".repeat(65))]
        {
            assert_eq!(read_position(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_a_payload_has_between_its_tokens_arrives(name in "[a-z:\r\n]{0,12}", before in "[ \r\n]{0,6}", after in "[ \r\n]{0,6}") {
            let data = format!("{{{before}\"a:b\"{after}:1}}");
            let mut out = String::new();
            write_event(&mut out, None, Some(&name), &data);
            write_event(&mut out, None, None, "next");
            let events = read(&out);
            prop_assert_eq!(events.len(), 2);
            let dense = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(dense(&events[0].2), dense(&data));
            prop_assert_eq!(&events[1].2, "next");
        }
    }
}
