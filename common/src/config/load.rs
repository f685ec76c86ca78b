//! Combines the layers into settings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{Config, Source, ValueKind};

use super::faults::{Fault, Faults};
use super::former::renewed;
use super::inputs::{Inputs, Role};
use super::kinds::{Draft, text};
use super::layers::{Layer, dotenv_layer, env_layer, file_layer, flag_layer, flatten};
use super::rules;
use super::secrets::{SecretsError, fill_in};
use super::settings::{AgentKey, Settings};
use super::table::{ENV_CONFIG, Setting, rows};
use crate::files::check_writable;

/// The file that is read if it exists and no other is named.
const DEFAULT_FILE: &str = "agent-bridge.toml";

/// Settings that were read and are valid, with the source of each.
#[derive(Clone)]
pub struct Loaded {
    draft: Draft,
    origins: BTreeMap<&'static str, String>,
    role: Role,
}

/// Reads every layer, and reports all faults at once.
///
/// # Errors
/// Every fault of every layer, and of the settings together.
pub fn load(inputs: &Inputs, role: Role) -> Result<Loaded, Faults> {
    let mut faults = Vec::new();
    let layers = read_layers(inputs, &mut faults);
    let values = renewed(merge(layers, &mut faults));

    let mut draft = Draft::default();
    let mut origins = BTreeMap::new();
    for (key, value) in values {
        let Some(setting) = super::table::find(&key) else { continue };
        let origin = value.origin().unwrap_or_default().to_owned();
        match setting.field.apply(&mut draft, &value.kind) {
            Ok(()) => {
                origins.insert(setting.key, origin);
            }
            Err(why) => faults.push(Fault::new(setting.key, origin, bad_value(setting, &value.kind, &why))),
        }
    }
    draft.settings.broker.agent_keys = agent_keys(&draft, origins.contains_key("broker.agent_token"));
    draft.settings.auth.fill_in();
    // Rules that compare settings make sense only if each setting alone is valid.
    if faults.is_empty() {
        faults = rules::check(&draft.settings, &origins, role);
    }
    if faults.is_empty() { Ok(Loaded { draft, origins, role }) } else { Err(Faults(faults)) }
}

impl Loaded {
    /// The settings as read. Secrets that nobody set are still empty.
    pub fn settings(&self) -> &Settings {
        &self.draft.settings
    }

    /// The settings as a draft.
    #[cfg(test)]
    pub(super) fn draft(&self) -> Draft {
        self.draft.clone()
    }

    /// A fault of a setting, with the source of its value.
    pub fn fault(&self, key: &str, message: impl Into<String>) -> Fault {
        Fault::new(key, self.origins.get(key).map_or("default", String::as_str), message)
    }

    /// The same settings, if `found` is empty: faults that other parts of the program found, each
    /// with its setting.
    ///
    /// # Errors
    /// All of these faults, and whether the data folder can be used.
    pub fn checked(self, found: Vec<(&'static str, String)>) -> Result<Self, Faults> {
        let faults: Vec<_> =
            self.data_folder_fault().into_iter().chain(found).map(|(key, message)| self.fault(key, message)).collect();
        if faults.is_empty() { Ok(self) } else { Err(Faults(faults)) }
    }

    fn data_folder_fault(&self) -> Option<(&'static str, String)> {
        let dir = &self.settings().data.dir;
        if self.role == Role::Client {
            return None;
        }
        let error = check_writable(dir).err()?;
        Some((
            "data.dir",
            format!("{} cannot be made or written ({error}): name a folder that can, with DATA_DIR", dir.display()),
        ))
    }

    /// Reads or makes the secrets that nobody set, and returns the settings.
    ///
    /// # Errors
    /// The file of secrets cannot be read or made.
    pub fn resolve_secrets(self) -> Result<Settings, SecretsError> {
        let mut settings = self.draft.settings;
        fill_in(&mut settings, self.role)?;
        Ok(settings)
    }

    /// Every setting in force with its source, one per line; secrets are redacted.
    pub fn listing(&self) -> String {
        let mut draft = self.draft.clone();
        let lines = rows().map(|setting| {
            let value = setting.field.show(&mut draft);
            let origin = self.origins.get(setting.key).map_or("default", String::as_str);
            format!("{:<34} = {:<28} # {origin}\n", setting.key, if value.is_empty() { "(unset)" } else { value.as_str() })
        });
        lines.collect()
    }
}

/// The keys that agents may present: the named ones, and the single one, unless it is only the
/// default and others are configured.
fn agent_keys(draft: &Draft, token_is_set: bool) -> Vec<AgentKey> {
    let mut keys = draft.named_keys.clone();
    if token_is_set || keys.is_empty() {
        keys.insert(0, AgentKey { name: "default".into(), key: draft.agent_token.clone() });
    }
    keys
}

fn read_layers(inputs: &Inputs, faults: &mut Vec<Fault>) -> Vec<Layer> {
    let mut layers = Vec::new();
    let named = inputs.file.clone().or_else(|| {
        let variable = inputs.env.iter().find(|(name, value)| name == ENV_CONFIG && !value.is_empty());
        variable.map(|(_, value)| PathBuf::from(value))
    });
    let path = named.clone().unwrap_or_else(|| inputs.folder.join(DEFAULT_FILE));
    let name = if named.is_some() { path.display().to_string() } else { DEFAULT_FILE.to_owned() };
    match read_file(&path, named.is_some()) {
        Ok(Some(content)) => layers.push(file_layer(&name, &content, faults)),
        Ok(None) => {}
        Err(error) => faults.push(Fault::new(name, "", format!("cannot be read: {error}"))),
    }
    layers.push(dotenv_layer(&inputs.folder.join(".env"), faults));
    layers.push(env_layer("environment", readable(&inputs.env, faults), faults));
    layers.push(flag_layer(&inputs.flags, faults));
    layers
}

fn read_file(path: &Path, must_exist: bool) -> std::io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => Ok(None),
        Err(error) => Err(error),
    }
}

/// The variables that are text. If one of ours is not, that is a fault; others do not matter.
fn readable(env: &[(OsString, OsString)], faults: &mut Vec<Fault>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (name, value) in env {
        let Some(name) = name.to_str() else { continue };
        match value.to_str() {
            Some(value) => pairs.push((name.to_owned(), value.to_owned())),
            None if rows().any(|setting| setting.env == Some(name) || setting.generic_env() == name) => {
                faults.push(Fault::new(name, "environment", "its value is not UTF-8"));
            }
            None => {}
        }
    }
    pairs
}

fn merge(layers: Vec<Layer>, faults: &mut Vec<Fault>) -> Vec<(String, config::Value)> {
    let builder = layers.into_iter().fold(Config::builder(), |builder, layer| builder.add_source(layer));
    match builder.build().and_then(|config| config.collect()) {
        Ok(table) => flatten(table),
        Err(error) => {
            faults.push(Fault::new("configuration", "", error.to_string()));
            Vec::new()
        }
    }
}

fn bad_value(setting: &Setting, raw: &ValueKind, why: &str) -> String {
    let allowed = setting.field.allowed();
    match text(raw) {
        // A URL with a password in it is refused, and must not be repeated.
        Ok(value) if !setting.field.is_secret() && !value.contains('@') => {
            let value: String = value.chars().take(80).collect();
            format!("`{value}` is refused, {why}; allowed: {allowed}")
        }
        _ => format!("the value is refused, {why}; allowed: {allowed}"),
    }
}
