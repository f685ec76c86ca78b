//! One row of the table of settings, and the names that rows have.

use super::kinds::Field;

/// One setting.
pub(super) struct Setting {
    /// `section.name`, as in the file.
    pub key: &'static str,
    /// The short environment name, if there is one besides the generic name.
    pub env: Option<&'static str>,
    /// Its kind, bound to its field.
    pub field: &'static dyn Field,
    /// What it means: unit, and what zero or empty means.
    pub doc: &'static str,
}

impl Setting {
    /// The environment name that every setting has: `AGENT_BRIDGE_SECTION__NAME`.
    pub fn generic_env(&self) -> String {
        format!("{ENV_PREFIX}{}", self.key.replace('.', "__").to_ascii_uppercase())
    }

    /// The environment name to show first.
    pub fn main_env(&self) -> String {
        self.env.map_or_else(|| self.generic_env(), str::to_owned)
    }

    /// The part of the key before the dot.
    pub fn section(&self) -> &'static str {
        self.key.split('.').next().unwrap_or_default()
    }
}

/// Rows: `"key" | "WELL_KNOWN_NAME" => Kind {..}, "doc";`. The name is optional.
macro_rules! settings {
    ($($key:literal $(| $env:literal)? => $field:expr, $doc:literal;)*) => {
        &[$(Setting { key: $key, env: settings!(@env $($env)?), field: &$field, doc: $doc }),*]
    };
    (@env) => { None };
    (@env $env:literal) => { Some($env) };
}
pub(super) use settings;

/// The prefix of the generic environment names.
pub(super) const ENV_PREFIX: &str = "AGENT_BRIDGE_";

/// The environment name that names the configuration file, as `--config` does.
pub(super) const ENV_CONFIG: &str = "AGENT_BRIDGE_CONFIG";

/// The sections in order, each with its heading.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("broker", "Broker"),
    ("web", "Edge"),
    ("auth", "Logins"),
    ("proxies", "Proxies in front"),
    ("dialects", "Dialects"),
    ("limits", "Limits"),
    ("rates", "Rates"),
    ("access", "What sessions may reach"),
    ("heartbeat", "Heartbeat"),
    ("drain", "Drain"),
    ("demo", "Demo agent"),
    ("log", "Logging"),
    ("data", "Data"),
    ("store", "Durable messages"),
    ("acme", "Certificates by ACME"),
];
