//! The bodies of calls: an envelope, and for a request its wait limit. Pure.

use std::fmt;

use common::{
    envelope::MAX_TIMEOUT_MS,
    error::{ClientError, ErrorCode},
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use uuid::Uuid;

/// The wait limit of a request that names none, in milliseconds.
const USUAL_WAIT_MS: u32 = 30_000;
/// The type of a request that names none.
const USUAL_KIND: &str = "\"message:send\"";
/// The longest idempotency key, in bytes. As long as an id, because it becomes one.
const LONGEST_KEY: usize = 128;

/// A message to be published.
#[derive(Debug, PartialEq, Eq)]
pub struct PublishBody {
    /// The envelope, which has an id.
    pub text: String,
    /// The id.
    pub id: String,
}

/// A request.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestBody {
    /// The envelope, which has an id and `timeout_ms`.
    pub text: String,
    /// The id.
    pub id: String,
    /// How long the caller waits, in milliseconds.
    pub wait_ms: u32,
    /// What makes it this request: everything but its id and its wait limit.
    pub input: String,
}

/// The fields of a JSON object in their order, each once, with their values as they came.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Fields<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("one JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(String, &'de RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push((name, value));
                }
                // Sorted for the check: a body may have very many fields.
                let mut names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
                names.sort_unstable();
                match names.windows(2).find(|pair| pair.first() == pair.last()) {
                    Some(twice) => Err(serde::de::Error::custom(format!("a field occurs twice: {:?}", twice.first()))),
                    None => Ok(Fields(fields)),
                }
            }
        }
        input.deserialize_map(Reader)
    }
}

impl<'a> Fields<'a> {
    fn read(body: &'a [u8]) -> Result<Self, ClientError> {
        let text = std::str::from_utf8(body).map_err(|_| ErrorCode::InvalidUtf8)?;
        serde_json::from_str(text).map_err(|error| invalid(&format!("the body is not an envelope: {error}")))
    }

    fn take(&mut self, name: &str) -> Option<&'a str> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1.get()).filter(|value| *value != "null")
    }

    fn take_id(&mut self) -> Result<Option<String>, ClientError> {
        let id: Option<String> =
            self.take("id").map(serde_json::from_str).transpose().map_err(|_| invalid("`id` must be a string"))?;
        if id.as_deref().is_some_and(|id| id.is_empty() || id.chars().count() > LONGEST_KEY) {
            return Err(invalid("`id` must be 1 to 128 characters"));
        }
        Ok(id)
    }

    /// The object, with these fields first.
    fn write(&self, first: &[(&str, &str)]) -> String {
        let mut text = String::from("{");
        let own = self.0.iter().map(|(name, value)| (name.as_str(), value.get()));
        for (name, value) in first.iter().copied().chain(own) {
            if text.len() > 1 {
                text.push(',');
            }
            // A string: serialisation cannot fail.
            text.push_str(&serde_json::to_string(name).unwrap_or_default());
            text.push(':');
            text.push_str(value);
        }
        text.push('}');
        text
    }
}

fn invalid(message: &str) -> ClientError {
    ClientError::with_message(ErrorCode::InvalidEnvelope, message)
}

fn json(id: &str) -> String {
    serde_json::to_string(id).unwrap_or_default()
}

impl PublishBody {
    /// Reads the body of `POST /api/v1/messages`. A message without an id gets one.
    ///
    /// # Errors
    /// `invalid_utf8`, `invalid_envelope`.
    pub fn read(body: &[u8]) -> Result<Self, ClientError> {
        let mut fields = Fields::read(body)?;
        if fields.take("timeout_ms").is_some() {
            return Err(invalid("`timeout_ms` is for requests, which go to /api/v1/request"));
        }
        let id = fields.take_id()?.unwrap_or_else(|| Uuid::new_v4().to_string());
        Ok(Self { text: fields.write(&[("id", &json(&id))]), id })
    }
}

impl RequestBody {
    /// Reads the body of `POST /api/v1/request`. A request without an id gets its idempotency key
    /// as its id, so that the peer that is asked recognises a repetition too.
    ///
    /// # Errors
    /// `invalid_utf8`, `invalid_envelope`.
    pub fn read(body: &[u8], key: Option<&str>) -> Result<Self, ClientError> {
        let mut fields = Fields::read(body)?;
        let wait_ms = match fields.take("wait_ms").map(serde_json::from_str::<u32>) {
            None => USUAL_WAIT_MS,
            Some(Ok(wait_ms)) if (1..=MAX_TIMEOUT_MS).contains(&wait_ms) => wait_ms,
            Some(_) => return Err(invalid("`wait_ms` must be 1 to 600000")),
        };
        if fields.take("timeout_ms").is_some() {
            return Err(invalid("the wait limit of a request over HTTP is `wait_ms`, not `timeout_ms`"));
        }
        let id = fields.take_id()?;
        let kind = if fields.0.iter().any(|(name, _)| name == "type") { None } else { Some(("type", USUAL_KIND)) };
        fields.0.sort_by(|(one, _), (other, _)| one.cmp(other));
        let input = fields.write(kind.as_slice());
        let id = id.or_else(|| key.map(str::to_owned)).unwrap_or_else(|| Uuid::new_v4().to_string());
        // With a key, the request outlives the call: others may wait for its answer.
        let timeout_ms = if key.is_some() { MAX_TIMEOUT_MS } else { wait_ms }.to_string();
        let own_id = json(&id);
        let first = [("id", own_id.as_str()), ("timeout_ms", timeout_ms.as_str())].into_iter().chain(kind);
        Ok(Self { text: fields.write(&first.collect::<Vec<_>>()), id, wait_ms, input })
    }
}

/// Checks an idempotency key.
///
/// # Errors
/// `bad_request`.
pub fn check_key(key: &str) -> Result<(), ClientError> {
    if (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(ClientError::with_message(
        ErrorCode::BadRequest,
        "`Idempotency-Key` must be 1 to 128 printable ASCII characters without spaces",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn code<T: fmt::Debug>(outcome: Result<T, ClientError>) -> ErrorCode {
        outcome.expect_err("refused").code
    }

    #[test]
    fn a_payload_passes_byte_for_byte_and_an_id_is_added() {
        let body = PublishBody::read(br#" {"type":"job:new","payload":{ "n" : 1.0 }} "#).expect("valid");
        assert_eq!(body.text, format!(r#"{{"id":"{}","type":"job:new","payload":{{ "n" : 1.0 }}}}"#, body.id));
        let body = PublishBody::read(br#"{"type":"job:new","id":"7"}"#).expect("valid");
        assert_eq!((body.id.as_str(), body.text.as_str()), ("7", r#"{"id":"7","type":"job:new"}"#));
    }

    #[test]
    fn a_request_is_an_envelope_with_a_wait_limit() {
        let body = br#"{"target":"agent:a","payload":{"text":"hi"},"wait_ms":250}"#;
        let request = RequestBody::read(body, None).expect("valid");
        let text: Value = serde_json::from_str(&request.text).expect("JSON");
        let expected =
            json!({"id": request.id, "type": "message:send", "target": "agent:a", "payload": {"text": "hi"}, "timeout_ms": 250});
        assert_eq!((text, request.wait_ms), (expected, 250));
        let keyed = RequestBody::read(body, Some("k")).expect("valid");
        assert_eq!(keyed.id, "k");
        assert!(keyed.text.contains(r#""timeout_ms":600000"#), "{}", keyed.text);
    }

    #[test]
    fn the_order_of_fields_the_id_and_the_wait_limit_do_not_make_another_request() {
        let input = |body: &str| RequestBody::read(body.as_bytes(), None).expect("valid").input;
        let one = input(r#"{"type":"a:b","target":"agent:a","payload":1,"wait_ms":1}"#);
        assert_eq!(one, input(r#"{"payload":1,"id":"x","target":"agent:a","type":"a:b"}"#));
        for other in [
            r#"{"type":"a:b","target":"agent:a","payload":2}"#,
            r#"{"type":"a:c","target":"agent:a","payload":1}"#,
            r#"{"type":"a:b","target":"agent:b","payload":1}"#,
        ] {
            assert_ne!(one, input(other), "{other}");
        }
    }

    #[test]
    fn bodies_that_are_no_envelopes_are_refused() {
        for bad in ["", "[]", "7", "{", r#"{"type":"a:b","type":"a:b"}"#, r#"{"id":7}"#, r#"{"id":""}"#] {
            assert_eq!(code(PublishBody::read(bad.as_bytes())), ErrorCode::InvalidEnvelope, "{bad}");
            assert_eq!(code(RequestBody::read(bad.as_bytes(), None)), ErrorCode::InvalidEnvelope, "{bad}");
        }
        for bad in [r#"{"wait_ms":0}"#, r#"{"wait_ms":600001}"#, r#"{"wait_ms":"1"}"#, r#"{"timeout_ms":1}"#] {
            assert_eq!(code(RequestBody::read(bad.as_bytes(), None)), ErrorCode::InvalidEnvelope, "{bad}");
        }
        assert_eq!(code(PublishBody::read(br#"{"timeout_ms":1}"#)), ErrorCode::InvalidEnvelope);
        assert_eq!(code(PublishBody::read(b"\xff")), ErrorCode::InvalidUtf8);
        for bad in ["", "a b", "\u{e9}", &"k".repeat(129)] {
            assert_eq!(code(check_key(bad)), ErrorCode::BadRequest, "{bad:?}");
        }
        assert_eq!(check_key(&"k".repeat(128)), Ok(()));
    }
}
