//! JSON objects in which no name occurs twice, at any depth.
//!
//! Two readers of one token must see the same claims. If a name occurs twice, some readers take the
//! first and some the last.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::TokenError;

/// Reads one object, and nothing after it.
///
/// # Errors
/// `token_duplicate_names`, `token_malformed`.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, TokenError> {
    let is_duplicate = Cell::new(false);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { is_duplicate: &is_duplicate }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(Value::Object(object)) => Ok(object),
        Err(_) if is_duplicate.get() => Err(TokenError::DuplicateNames),
        Ok(_) | Err(_) => Err(TokenError::Malformed),
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    is_duplicate: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut input: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = input.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = input.next_key::<String>()? {
            let value = input.next_value_seed(self)?;
            if object.insert(name, value).is_some() {
                self.is_duplicate.set(true);
                return Err(A::Error::custom("a name occurs twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_occur_twice_are_refused_wherever_they_are() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"b":2}}"#, r#"{"a":[{"b":1,"\u0062":2}]}"#] {
            assert_eq!(object(text.as_bytes()), Err(TokenError::DuplicateNames), "{text}");
        }
        for text in ["", "[]", "1", "{", r#"{"a":1}x"#, r#"{"a":1}{}"#, "\u{feff}{}", r#"{"a":1e999}"#] {
            assert_eq!(object(text.as_bytes()), Err(TokenError::Malformed), "{text}");
        }
        assert_eq!(object(&[b'{', 0xff, b'}']), Err(TokenError::Malformed));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
        assert_eq!(object(deep.as_bytes()), Err(TokenError::Malformed));
    }

    #[test]
    fn the_parser_reads_what_serde_reads() {
        let text = r#"{"s":"x\n","i":-1,"u":18446744073709551615,"f":1.5,"n":null,"b":true,"a":[1,[2]],"o":{"p":{}}}"#;
        assert_eq!(object(text.as_bytes()).map(Value::Object), Ok(serde_json::from_str(text).unwrap()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), text in "[\\[\\]{}:,\"a1 ]{0,40}") {
            let _ = object(&bytes);
            let _ = object(text.as_bytes());
        }
    }
}
