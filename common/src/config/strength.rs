//! How hard a secret is to guess, estimated from its characters alone.
//!
//! Nobody can tell a random text from one that a person chose by looking at it. But a text that is
//! short, repeats itself, counts up, or uses few characters can be recognised. Such a text is
//! refused if strangers can try it.

use std::collections::BTreeMap;

/// The required strength of a secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strength {
    /// The least number of characters.
    pub length: usize,
    /// The least number of estimated bits.
    pub bits: u32,
}

/// For secrets that are presented to a server, which slows down guesses.
pub(super) const SHOWN: Strength = Strength { length: 16, bits: 40 };
/// For secrets that sign: with one signature, an attacker can try on their own machine.
pub(super) const SIGNS: Strength = Strength { length: 32, bits: 80 };

impl Strength {
    /// Whether a secret is that strong.
    pub fn has(self, secret: &str) -> bool {
        secret.len() >= self.length && bits(secret) >= f64::from(self.bits)
    }
}

/// The number of characters that count, times the Shannon entropy of the characters' frequencies.
///
/// A text that repeats one part counts as that part. A character that continues a row (`aaa`,
/// `123`, `cba`) does not count.
fn bits(text: &str) -> f64 {
    let part = repeated_part(text.as_bytes());
    let step = |left: u8, right: u8| i16::from(right) - i16::from(left);
    let goes_on = |three: &[u8]| match three {
        [first, second, third] => step(*first, *second) == step(*second, *third) && step(*first, *second).abs() <= 1,
        _ => false,
    };
    let new = part.len() - part.windows(3).filter(|three| goes_on(three)).count();
    count(new) * entropy(part)
}

/// The shortest prefix of which the text is a repetition. The last repetition may be cut off.
fn repeated_part(text: &[u8]) -> &[u8] {
    let period =
        (1..=text.len() / 2).find(|period| text.iter().zip(text.iter().skip(*period)).all(|(left, right)| left == right));
    text.get(..period.unwrap_or(text.len())).unwrap_or(text)
}

/// The bits per character, judged by the frequencies.
fn entropy(text: &[u8]) -> f64 {
    let mut times = BTreeMap::new();
    text.iter().for_each(|byte| *times.entry(byte).or_insert(0_usize) += 1);
    times.values().map(|times| count(*times) / count(text.len())).map(|share| -share * share.log2()).sum()
}

/// Lengths of secrets are small.
fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_repetitive_and_sequential_secrets_are_weak() {
        for weak in [
            "",
            "x",
            "hunter2",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "abababababababababababababababababababab",
            "changemechangemechangemechangemechangeme",
            "0123456789abcdef0123456789abcdef0123456789abcdef",
            "abcdefghijklmnopqrstuvwxyz",
            "password12345678",
            "1111111122222222333333334444444455555555",
        ] {
            assert!(!SHOWN.has(weak) && !SIGNS.has(weak), "{weak}: {}", bits(weak));
        }
    }

    #[test]
    fn random_secrets_are_strong() {
        for strong in [
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "9f86d081884c7d659a2feaa0c55ad015",
            "kq3Vb0ZxW1s7Yp5LrT9uNcE2aHgJdMfQ",
            "test-bridge-secret-of-at-least-32-bytes",
        ] {
            assert!(SHOWN.has(strong) && SIGNS.has(strong), "{strong}: {}", bits(strong));
        }
        for shown in ["an-agent-key-of-my-own", "c7d659a2feaa0c55"] {
            assert!(SHOWN.has(shown) && !SIGNS.has(shown), "{shown}: {}", bits(shown));
        }
    }
}
