//! Secrets: strings that are never printed.

use std::fmt;

use serde::Deserialize;
use serde_json::error::Category;
use subtle::ConstantTimeEq;

/// A secret string. Its `Debug` and `Display` are redacted. Comparing takes the same time for all
/// inputs of one length.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The secret itself, for the code that needs it. Never log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is this secret, in time that depends on the lengths only.
    pub fn matches(&self, candidate: &str) -> bool {
        self.0.as_bytes().ct_eq(candidate.as_bytes()).into()
    }

    /// Whether the secret is the empty string.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[redacted]")
    }
}

/// The fault of JSON that may contain secrets, and its place, without quoting it:
/// [`serde_json::Error`] quotes what it did not expect.
pub fn json_fault(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        Category::Syntax => "is not JSON",
        Category::Eof => "ends too early",
        Category::Data => "holds something else than is expected",
        Category::Io => "cannot be read",
    };
    format!("it {what} at line {}, column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_in_json_does_not_quote_it() {
        for (json, fault) in [
            (r#""hunter2""#, "it holds something else than is expected at line 1, column 9"),
            ("hunter2", "it is not JSON at line 1, column 1"),
            ("[1", "it ends too early at line 1, column 2"),
        ] {
            let error = serde_json::from_str::<Vec<u8>>(json).expect_err("not numbers");
            assert_eq!(json_fault(&error), fault);
        }
    }

    #[test]
    fn secret_is_redacted_and_compares() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {secret}"), "[redacted] [redacted]");
        assert!(secret.matches("hunter2"));
        assert!(!secret.matches("hunter3"));
        assert!(!secret.matches("hunter22"));
    }
}
