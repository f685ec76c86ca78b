//! Merges two text deltas of one answer.
//!
//! This is the only place where the bridge reads a payload, and only if the sender asked for it and
//! a reader is behind. A delta's payload is `{"text": string, "index": integer}`. A merged one also
//! has `"through"`: the index of its last part. Any other payload stays as it is.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Envelope, span_of};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delta<'a> {
    #[serde(borrow)]
    text: &'a RawValue,
    index: u64,
    #[serde(default)]
    through: Option<u64>,
}

impl Delta<'_> {
    /// The index of its last part.
    fn last(&self) -> u64 {
        self.through.unwrap_or(self.index)
    }
}

/// The newer envelope with the texts of both, the older one's `index`, and the newer one's
/// `through`. `None` if one of them is not a text delta, or if the newer one's `index` does not
/// follow the older one's.
pub fn merge_deltas(older: &str, newer: &str) -> Option<String> {
    let payload = |text| Envelope::parse(text, usize::MAX).ok().and_then(|envelope| envelope.payload);
    let (older, payload) = (payload(older)?, payload(newer)?);
    let (first, second): (Delta<'_>, Delta<'_>) = (serde_json::from_str(older).ok()?, serde_json::from_str(payload).ok()?);
    if second.index != first.last().checked_add(1)? {
        return None;
    }
    // As literals: escapes stay as they are, and a surrogate pair that was split is whole again.
    let begin = first.text.get().strip_prefix('"')?.strip_suffix('"')?;
    let end = second.text.get().strip_prefix('"')?.strip_suffix('"')?;
    let (index, through) = (first.index, second.last());
    let span = span_of(newer, payload);
    let (head, tail) = (newer.get(..span.start)?, newer.get(span.end..)?);
    Some(format!("{head}{{\"text\":\"{begin}{end}\",\"index\":{index},\"through\":{through}}}{tail}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn delta(id: &str, payload: &str) -> String {
        format!(r#"{{"id":"{id}","type":"message:delta","correlation_id":"q", "payload" : {payload} ,"x":[ ]}}"#)
    }

    fn merged(older: &str, newer: &str) -> Option<String> {
        merge_deltas(&delta("1", older), &delta("2", newer))
    }

    #[test]
    fn texts_are_put_together_and_the_rest_is_the_newer_one() {
        let once = merged(r#"{"text":"a\n\ud83d","index":3}"#, r#"{"index": 4, "text":"\ude42 \"b\""}"#).expect("merged");
        let value: Value = serde_json::from_str(&once).expect("json");
        assert_eq!(value["payload"], json!({"text": "a\n\u{1f642} \"b\"", "index": 3, "through": 4}));
        assert!(once.starts_with(r#"{"id":"2","#) && once.ends_with(r#" ,"x":[ ]}"#), "{once}");
        let twice = merge_deltas(&once, &delta("3", r#"{"text":"c","index":5}"#)).expect("merged");
        let value: Value = serde_json::from_str(&twice).expect("json");
        assert_eq!(value["payload"], json!({"text": "a\n\u{1f642} \"b\"c", "index": 3, "through": 5}));
        assert_eq!(value["id"], "3");
    }

    #[test]
    fn messages_that_are_no_deltas_or_do_not_follow_are_not_merged() {
        let plain = r#"{"text":"a","index":3}"#;
        for other in [
            r#"{"text":"b","index":5}"#,
            r#"{"text":"b","index":3}"#,
            r#"{"text":"b"}"#,
            r#"{"text":1,"index":4}"#,
            r#"{"text":"b","index":4,"role":"x"}"#,
            r#""b""#,
            "null",
        ] {
            assert_eq!(merged(plain, other), None, "{other}");
        }
        assert_eq!(merged(r#"{"text":"a","index":18446744073709551615}"#, r#"{"text":"b","index":0}"#), None);
    }
}
