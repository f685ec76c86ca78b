//! The kinds of values that a setting can have: how each is read, bounded, shown and described.
//!
//! A kind points at its field in the [`Draft`], so that one row of the table connects a key with a
//! typed field. Kinds do not know the source of a value. No kind repeats a secret in an error.

mod guards;
mod numbers;
mod secrets;
mod texts;

use config::ValueKind;

pub(super) use self::guards::{Networks, PerSecond};
pub(super) use self::numbers::{Flag, Integer, Ratio, Size, Span, show_duration, show_size};
pub(super) use self::secrets::{ChainUrls, Keys, SecretText};
pub(super) use self::texts::{Address, Chains, Choice, Folder, List, OptionalFolder, OptionalText, Text};
use super::settings::{AgentKey, DEV_AGENT_KEY, Settings};
use crate::secret::Secret;

/// Settings while they are built: the typed settings, and what is merged into them at the end.
#[derive(Clone)]
pub(super) struct Draft {
    pub settings: Settings,
    pub agent_token: Secret,
    pub named_keys: Vec<AgentKey>,
}

impl Default for Draft {
    fn default() -> Self {
        Self { settings: Settings::default(), agent_token: Secret::new(DEV_AGENT_KEY), named_keys: Vec::new() }
    }
}

/// The place of a value of type `T` in the draft.
pub(super) type At<T> = fn(&mut Draft) -> &mut T;

/// One kind of value, bound to one field.
pub(super) trait Field: Sync {
    /// Reads the value into its field, or returns what is wrong with it.
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String>;
    /// The field's value as a user would write it; empty if unset; secrets are redacted.
    fn show(&self, draft: &mut Draft) -> String;
    /// The allowed values.
    fn allowed(&self) -> String;
    /// Whether the value must never be shown.
    fn is_secret(&self) -> bool {
        false
    }
    /// Whether it is a list. An empty value of a list is the empty list; any other empty value
    /// counts as unset.
    fn is_list(&self) -> bool {
        false
    }
}

/// The value as text. A list or a table has none.
pub(super) fn text(raw: &ValueKind) -> Result<String, String> {
    match raw {
        ValueKind::String(text) => Ok(text.trim().to_owned()),
        ValueKind::Boolean(_)
        | ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_) => Ok(raw.to_string()),
        ValueKind::Array(_) => Err("one value is expected, not a list".into()),
        ValueKind::Table(_) => Err("one value is expected, not a table".into()),
        ValueKind::Nil => Err("it is empty".into()),
    }
}

fn items(raw: &ValueKind) -> Result<Vec<String>, String> {
    match raw {
        ValueKind::Array(values) => values.iter().map(|value| text(&value.kind)).collect(),
        other => Ok(text(other)?.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()),
    }
}
