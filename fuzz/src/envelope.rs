//! Envelopes, and what the broker does with them.

use std::fmt;

use common::{envelope::Envelope, error::ErrorCode};
use serde::{
    Deserialize,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

const SOURCE: &str = "\"agent:fuzz\"";
const FRESH: &str = "fresh-id";
/// Low, so that inputs reach it.
const MAX_DEPTH: usize = 8;

/// A stamped frame is valid JSON with the broker's source; every other field is as it was, byte for
/// byte and in its place; an id and a timestamp are added if they were absent. Stamping again
/// changes nothing.
pub fn envelope(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let envelope = match Envelope::parse(text, MAX_DEPTH) {
        Ok(envelope) => envelope,
        Err(refused) => {
            assert!(matches!(refused.error.code, ErrorCode::InvalidEnvelope | ErrorCode::InvalidTarget));
            return;
        }
    };
    let stamped = stamp(&envelope);
    let again = Envelope::parse(&stamped, MAX_DEPTH).expect("a stamped frame is an envelope");
    assert_eq!(stamp(&again), stamped);
    assert_eq!(
        (&again.kind, &again.target, &again.correlation_id, again.priority, again.timeout_ms, again.payload),
        (&envelope.kind, &envelope.target, &envelope.correlation_id, envelope.priority, envelope.timeout_ms, envelope.payload),
    );
    assert_eq!(again.id.as_deref(), Some(envelope.id.as_deref().unwrap_or(FRESH)));

    let (before, after) = (fields(text), fields(&stamped));
    assert!(deepest(text) <= MAX_DEPTH);
    let (added, kept) = after.split_at(after.len() - before.len());
    let mut lacking: Vec<_> = ["id", "timestamp", "source"].into();
    lacking.retain(|key| before.iter().all(|(name, _)| name != key));
    assert_eq!(added.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), lacking);
    for ((name, value), (old_name, old_value)) in kept.iter().zip(&before) {
        assert_eq!(name, old_name);
        assert_eq!(*value, if name == "source" { SOURCE } else { *old_value });
    }
}

fn stamp(envelope: &Envelope<'_>) -> String {
    let stamp = envelope.stamp(SOURCE, FRESH);
    let mut out = Vec::new();
    stamp.write_to(&mut out);
    assert_eq!(out.len(), stamp.len());
    String::from_utf8(out).expect("text stays text")
}

/// The fields of an object in their order, values as they are written.
fn fields(text: &str) -> Vec<(String, &str)> {
    serde_json::from_str::<Fields<'_>>(text).expect("valid JSON").0
}

struct Fields<'a>(Vec<(String, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de str)>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push((name, value.get()));
                }
                Ok(fields)
            }
        }
        input.deserialize_map(InOrder).map(Fields)
    }
}

/// The nesting of brackets, determined in another way than the parser's.
fn deepest(text: &str) -> usize {
    let (mut depth, mut most, mut is_quoted, mut is_escaped) = (0_usize, 0, false, false);
    for letter in text.chars() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '[' | '{' if !is_quoted => {
                depth += 1;
                most = most.max(depth);
            }
            ']' | '}' if !is_quoted => depth -= 1,
            _ => {}
        }
    }
    most
}
