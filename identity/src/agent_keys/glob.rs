//! Patterns for names: `*` matches any run of characters, also an empty one, and `?` any one
//! character.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A pattern of at most 128 characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Glob(String);

/// The text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pattern is 1 to 128 characters of A-Z a-z 0-9 . _ - : / @ + and * and ?")]
pub struct BadGlob;

impl Glob {
    /// The pattern that matches every name.
    pub fn everything() -> Self {
        Self("*".to_owned())
    }

    /// Whether it matches every name.
    pub fn is_everything(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    /// Whether a name matches. Takes time in proportion to the product of the lengths at most.
    pub fn matches(&self, name: &str) -> bool {
        if self.0 == "*" {
            return true;
        }
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut place) = (0, 0);
        // Where to continue if the text after the last `*` does not match: one character later.
        let mut retry: Option<(usize, usize)> = None;
        while let Some(byte) = name.get(place) {
            match pattern.get(at) {
                Some(b'*') => {
                    at += 1;
                    retry = Some((at, place));
                }
                Some(expected) if *expected == b'?' || expected == byte => {
                    at += 1;
                    place += 1;
                }
                _ => match retry {
                    Some((after_star, from)) => {
                        (at, place) = (after_star, from + 1);
                        retry = Some((after_star, from + 1));
                    }
                    None => return false,
                },
            }
        }
        pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
    }
}

impl FromStr for Glob {
    type Err = BadGlob;
    fn from_str(text: &str) -> Result<Self, BadGlob> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/@+*?".contains(&byte);
        if (1..=128).contains(&text.len()) && text.bytes().all(is_allowed) { Ok(Self(text.to_owned())) } else { Err(BadGlob) }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Serialize for Glob {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<Glob>().expect("a pattern").matches(name)
    }

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "a"),
            ("a*", "a"),
            ("a*c", "abc"),
            ("a?c", "abc"),
            ("*a*b*", "xxaxxbxx"),
            ("**", "a"),
            ("a/*", "a/b/c"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", ""), ("a", "ab"), ("?", ""), ("a*c", "ab"), ("A", "a"), ("*a", "ab"), ("a/*", "a")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        for bad in ["", "a b", "ä", "[a]", "{a}"] {
            assert_eq!(bad.parse::<Glob>(), Err(BadGlob), "{bad}");
        }
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        assert!(!matches(&format!("{}b", "*a".repeat(63)), &"a".repeat(128)));
    }

    /// The plain definition.
    fn slowly(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => slowly(rest, name) || name.split_first().is_some_and(|(_, later)| slowly(pattern, later)),
            (Some((b'?', rest)), Some((_, later))) => slowly(rest, later),
            (Some((one, rest)), Some((other, later))) => one == other && slowly(rest, later),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_does_what_the_plain_definition_says(pattern in "[ab*?]{1,8}", name in "[ab]{0,10}") {
            prop_assert_eq!(matches(&pattern, &name), slowly(pattern.as_bytes(), name.as_bytes()));
        }

        #[test]
        fn no_text_makes_it_panic(pattern in "\\PC{0,20}", name in "\\PC{0,20}") {
            if let Ok(pattern) = pattern.parse::<Glob>() {
                let _ = pattern.matches(&name);
            }
        }
    }
}
