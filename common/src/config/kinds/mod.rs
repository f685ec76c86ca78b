//! The kinds of values that a setting can have: how each is read, bounded, shown and described.
//!
//! A kind points at its field in the [`Draft`], so that one row of the table connects a key with a
//! typed field. Kinds do not know the source of a value. No kind repeats a secret in an error.

mod field;
mod guards;
mod numbers;
mod secrets;
mod texts;

pub(super) use self::field::{Draft, Field, text};
pub(super) use self::guards::{Networks, PerSecond};
pub(super) use self::numbers::{Flag, Integer, Ratio, Size, Span, show_duration, show_size};
pub(super) use self::secrets::{ChainUrls, Keys, SecretText};
pub(super) use self::texts::{Address, Chains, Choice, Folder, List, OptionalFolder, OptionalText, Text};
