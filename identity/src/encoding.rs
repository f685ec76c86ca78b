//! Small encodings: hexadecimal, base-62 digits, and names made from any text.

use sha2::{Digest, Sha256};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Lower-case hexadecimal.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| HEX.get(usize::from(digit)).copied())
        .map(char::from)
        .collect()
}

/// Reads hexadecimal of either case. `None` for an odd length or another character.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// `length` random characters of `0-9A-Za-z`, uniformly distributed. `None` if the system has no
/// randomness.
pub(crate) fn random_text(length: usize) -> Option<String> {
    let mut text = String::with_capacity(length);
    let mut pool = [0_u8; 64];
    while text.len() < length {
        getrandom::fill(&mut pool).ok()?;
        // 248 = 4 * 62: bytes above it would make the first digits more likely.
        let even = pool.iter().filter(|byte| **byte < 248).filter_map(|byte| DIGITS.get(usize::from(byte % 62)));
        text.extend(even.take(length - text.len()).copied().map(char::from));
    }
    Some(text)
}

/// Turns any text into a name of at most `longest` characters of `A-Z a-z 0-9 . _ - : @ +`.
/// Different texts get different names.
///
/// `+` and all other characters become `+` and two hexadecimal digits per byte. `/` is among them,
/// so that a name is one segment of a topic. A name that would be too long ends in `+h` and half of
/// its SHA-256. `longest` is at least 34.
pub fn escape_name(text: &str, longest: usize) -> String {
    let mut name = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-:@".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push('+');
            name.push_str(&to_hex(&[byte]).to_ascii_uppercase());
        }
        if name.len() > longest {
            let digest = Sha256::digest(text.as_bytes());
            return format!("+h{}", to_hex(digest.get(..16).unwrap_or_default()));
        }
    }
    name
}

/// The text from which [`escape_name`] made this name. `None` if it is no such name, or was
/// shortened.
pub fn unescape_name(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((plain, escaped)) = rest.split_once('+') {
        let (digits, after) = escaped.split_at_checked(2)?;
        bytes.extend_from_slice(plain.as_bytes());
        bytes.extend(from_hex(digits)?);
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    // Each text has one name: a name that escapes more than it must is refused.
    String::from_utf8(bytes).ok().filter(|text| escape_name(text, usize::MAX) == name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_readable_where_they_can_be() {
        assert_eq!(escape_name("ann@example.org", 128), "ann@example.org");
        assert_eq!(escape_name("auth0|5f7c", 128), "auth0+7C5f7c");
        assert_eq!(escape_name("a/b+c", 128), "a+2Fb+2Bc");
        let long = escape_name(&"x".repeat(200), 128);
        assert!(long.starts_with("+h") && long.len() == 34);
    }

    #[test]
    fn random_texts_differ_and_have_their_length() {
        let texts: std::collections::HashSet<_> = (0..100).filter_map(|_| random_text(24)).collect();
        assert_eq!(texts.len(), 100);
        assert!(texts.iter().all(|text| text.len() == 24 && text.bytes().all(|byte| DIGITS.contains(&byte))));
    }

    proptest! {
        #[test]
        fn names_are_names_and_tell_texts_apart(one in ".{1,60}", other in ".{1,60}") {
            let (name, second) = (escape_name(&one, 64), escape_name(&other, 64));
            prop_assert!(common::id::check_name(&name).is_ok());
            prop_assert!(!name.contains('/') && name.len() <= 64);
            prop_assert_eq!(name == second, one == other);
            let back = unescape_name(&name);
            prop_assert_eq!(back.as_deref(), (!name.starts_with("+h")).then_some(one.as_str()));
        }

        #[test]
        fn any_text_is_a_name_or_not(name in "[a+0-9A-Fh|é]{0,12}") {
            if let Some(text) = unescape_name(&name) {
                prop_assert_eq!(escape_name(&text, usize::MAX), name);
            }
        }

        #[test]
        fn hexadecimal_survives(bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        }

        #[test]
        fn any_text_is_hexadecimal_or_not(text in ".*") {
            let _ = from_hex(&text);
        }
    }
}
