//! What every kind of value has in common: a field of the draft, and how it is read and shown.

use config::ValueKind;

use crate::config::settings::{AgentKey, DEV_AGENT_KEY, Settings};
use crate::secret::Secret;

/// Settings while they are built: the typed settings, and what is merged into them at the end.
#[derive(Clone)]
pub(in crate::config) struct Draft {
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
pub(in crate::config) type At<T> = fn(&mut Draft) -> &mut T;

/// One kind of value, bound to one field.
pub(in crate::config) trait Field: Sync {
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
pub(in crate::config) fn text(raw: &ValueKind) -> Result<String, String> {
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

/// The items of a list: an array of values, or a text with commas between.
pub(super) fn items(raw: &ValueKind) -> Result<Vec<String>, String> {
    match raw {
        ValueKind::Array(values) => values.iter().map(|value| text(&value.kind)).collect(),
        other => Ok(text(other)?.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()),
    }
}
