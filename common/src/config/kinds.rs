//! The kinds of values a setting can have: how each is read, bounded, shown and described.
//!
//! A kind points at its field in the [`Draft`], so that one row of the table ties a key to a typed field. Kinds know nothing of
//! where a value came from. No kind ever repeats a secret in an error.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use config::ValueKind;

use super::settings::{AgentKey, DEV_AGENT_KEY, Settings};
use crate::secret::Secret;

/// Settings in the making: the typed settings, and what is merged into them at the end.
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

/// Where in the draft a value of type `T` lives.
pub(super) type At<T> = fn(&mut Draft) -> &mut T;

/// One kind of value, bound to one field.
pub(super) trait Field: Sync {
    /// Reads the value into its field, or says what is wrong with it.
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String>;
    /// The field's value as one would write it; empty where unset; secrets redacted.
    fn show(&self, draft: &mut Draft) -> String;
    /// What may be written.
    fn allowed(&self) -> String;
    /// Whether the value must never be shown.
    fn is_secret(&self) -> bool {
        false
    }
}

/// An IP address and port.
pub(super) struct Address {
    pub at: At<SocketAddr>,
}

/// A length of time within bounds, inclusive.
pub(super) struct Span {
    pub min: Duration,
    pub max: Duration,
    pub at: At<Duration>,
}

/// A number of bytes within bounds, inclusive.
pub(super) struct Size {
    pub min: usize,
    pub max: usize,
    pub at: At<usize>,
}

/// A whole number within bounds, inclusive.
pub(super) struct Integer {
    pub min: usize,
    pub max: usize,
    pub at: At<usize>,
}

/// A number between 0 and 1.
pub(super) struct Ratio {
    pub at: At<f64>,
}

/// Yes or no.
pub(super) struct Flag {
    pub at: At<bool>,
}

/// A path.
pub(super) struct Folder {
    pub at: At<PathBuf>,
}

/// A path that may be left unset.
pub(super) struct OptionalFolder {
    pub at: At<Option<PathBuf>>,
}

/// Text that a function checks.
pub(super) struct Text {
    pub allowed: &'static str,
    pub check: fn(&str) -> bool,
    pub at: At<String>,
}

/// Text that a function checks and that may be left unset.
pub(super) struct OptionalText {
    pub allowed: &'static str,
    pub check: fn(&str) -> bool,
    pub at: At<Option<String>>,
}

/// A list of texts that a function checks, each.
pub(super) struct List {
    pub allowed: &'static str,
    pub check: fn(&str) -> bool,
    pub at: At<Vec<String>>,
}

/// One of several words, each standing for a value.
pub(super) struct Choice<T: 'static> {
    pub words: &'static [(&'static str, T)],
    pub at: At<T>,
}

/// A secret of at least so many characters.
pub(super) struct SecretText {
    pub min_length: usize,
    pub at: At<Secret>,
}

/// Named keys, `name=key`.
pub(super) struct Keys {
    pub at: At<Vec<AgentKey>>,
}

impl Field for Address {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let text = text(raw)?;
        let addr = match text.strip_prefix("localhost:") {
            Some(port) => port.parse().ok().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            None => text.parse().ok(),
        };
        *(self.at)(draft) = addr.ok_or("it is not an address and port")?;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        (self.at)(draft).to_string()
    }

    fn allowed(&self) -> String {
        "`ip:port`, `[ipv6]:port` or `localhost:port`".into()
    }
}

impl Field for Span {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let text = text(raw)?;
        let value = match text.parse::<u64>() {
            Ok(0) => Duration::ZERO,
            Ok(number) => return Err(format!("it needs a unit, for example `{number}s` or `{number}ms`")),
            Err(_) => humantime::parse_duration(&text).map_err(|error| error.to_string())?,
        };
        if value < self.min || value > self.max {
            return Err("it is out of bounds".into());
        }
        *(self.at)(draft) = value;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        show_duration(*(self.at)(draft))
    }

    fn allowed(&self) -> String {
        format!("a duration from {} to {}", show_duration(self.min), show_duration(self.max))
    }
}

impl Field for Size {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let size: ByteSize = text(raw)?.parse().map_err(|_| "it is not a size".to_owned())?;
        let value = usize::try_from(size.as_u64()).map_err(|_| "it is out of bounds".to_owned())?;
        if value < self.min || value > self.max {
            return Err("it is out of bounds".into());
        }
        *(self.at)(draft) = value;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        show_size(*(self.at)(draft))
    }

    fn allowed(&self) -> String {
        format!("a size from {} to {}", show_size(self.min), show_size(self.max))
    }
}

impl Field for Integer {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let value: usize = text(raw)?.replace('_', "").parse().map_err(|_| "it is not a whole number".to_owned())?;
        if value < self.min || value > self.max {
            return Err("it is out of bounds".into());
        }
        *(self.at)(draft) = value;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        (self.at)(draft).to_string()
    }

    fn allowed(&self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }
}

impl Field for Ratio {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let value: f64 = text(raw)?.parse().map_err(|_| "it is not a number".to_owned())?;
        if !(0.0..=1.0).contains(&value) {
            return Err("it is out of bounds".into());
        }
        *(self.at)(draft) = value;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        (self.at)(draft).to_string()
    }

    fn allowed(&self) -> String {
        "a number from 0 to 1".into()
    }
}

impl Field for Flag {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        *(self.at)(draft) = match text(raw)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => true,
            "false" | "no" | "off" | "0" => false,
            _ => return Err("it is neither yes nor no".into()),
        };
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        (self.at)(draft).to_string()
    }

    fn allowed(&self) -> String {
        "`true` or `false`".into()
    }
}

impl Field for Folder {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let text = text(raw)?;
        if text.is_empty() {
            return Err("it is empty".into());
        }
        *(self.at)(draft) = PathBuf::from(text);
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        (self.at)(draft).display().to_string()
    }

    fn allowed(&self) -> String {
        "a path".into()
    }
}

impl Field for OptionalFolder {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let text = text(raw)?;
        *(self.at)(draft) = (!text.is_empty()).then(|| PathBuf::from(text));
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        (self.at)(draft).as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }

    fn allowed(&self) -> String {
        "a path, or empty".into()
    }
}

impl Field for Text {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        *(self.at)(draft) = checked(text(raw)?, self.check)?;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        (self.at)(draft).clone()
    }

    fn allowed(&self) -> String {
        self.allowed.into()
    }
}

impl Field for OptionalText {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let text = text(raw)?;
        *(self.at)(draft) = if text.is_empty() { None } else { Some(checked(text, self.check)?) };
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        (self.at)(draft).clone().unwrap_or_default()
    }

    fn allowed(&self) -> String {
        format!("{}, or empty", self.allowed)
    }
}

impl Field for List {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        *(self.at)(draft) = items(raw)?.into_iter().map(|item| checked(item, self.check)).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        (self.at)(draft).join(",")
    }

    fn allowed(&self) -> String {
        format!("a list (with commas between, or a TOML array) of {}", self.allowed)
    }
}

impl<T: Copy + PartialEq + Sync> Field for Choice<T> {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let text = text(raw)?;
        let found = self.words.iter().find(|(word, _)| *word == text);
        *(self.at)(draft) = found.ok_or("it is none of the known words")?.1;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        let value = *(self.at)(draft);
        self.words.iter().find(|(_, candidate)| *candidate == value).map(|(word, _)| (*word).to_owned()).unwrap_or_default()
    }

    fn allowed(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|(word, _)| format!("`{word}`")).collect();
        words.join(" or ")
    }
}

impl Field for SecretText {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        *(self.at)(draft) = secret(&text(raw)?, self.min_length)?;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        let value = (self.at)(draft);
        if value.is_empty() { String::new() } else { value.to_string() }
    }

    fn allowed(&self) -> String {
        format!("{} or more visible ASCII characters", self.min_length)
    }

    fn is_secret(&self) -> bool {
        true
    }
}

impl Field for Keys {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let mut keys = Vec::new();
        for (index, item) in items(raw)?.iter().enumerate() {
            let entry = index + 1;
            let (name, key) = item.split_once('=').ok_or_else(|| format!("entry {entry} is not `name=key`"))?;
            let name = name.trim();
            if !is_name(name) {
                return Err(format!("the name of entry {entry} is not 1 to 64 characters of `A-Z a-z 0-9 . _ -`"));
            }
            let key = secret(key.trim(), 1).map_err(|why| format!("the key of entry {entry}: {why}"))?;
            keys.push(AgentKey { name: name.to_owned(), key });
        }
        *(self.at)(draft) = keys;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        let keys: Vec<_> = (self.at)(draft).iter().map(|key| format!("{}={}", key.name, key.key)).collect();
        keys.join(",")
    }

    fn allowed(&self) -> String {
        "a list of `name=key` (with commas between, or a TOML array)".into()
    }

    fn is_secret(&self) -> bool {
        true
    }
}

/// The longest unit that leaves nothing over: `5s`, `250ms`, `30days`.
pub(super) fn show_duration(value: Duration) -> String {
    humantime::format_duration(value).to_string()
}

/// The largest binary unit that leaves nothing over: `1MiB`, `1536KiB`, `1000`.
pub(super) fn show_size(bytes: usize) -> String {
    const UNITS: [(usize, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.iter().find(|(size, _)| bytes >= *size && bytes % size == 0);
    unit.map_or_else(|| bytes.to_string(), |(size, name)| format!("{}{name}", bytes / size))
}

/// The value as text; a list or a table is none.
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

fn checked(text: String, check: fn(&str) -> bool) -> Result<String, String> {
    if check(&text) { Ok(text) } else { Err("it does not have the right form".into()) }
}

fn secret(text: &str, min_length: usize) -> Result<Secret, String> {
    if text.len() < min_length {
        return Err(format!("it is shorter than {min_length} characters"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it holds characters that are not visible ASCII".into());
    }
    Ok(Secret::new(text))
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
