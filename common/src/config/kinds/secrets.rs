//! Kinds that are never shown. No error repeats the value.

use config::ValueKind;

use super::field::{At, Draft, Field, items, text};
use crate::config::{auth_settings::ChainUrl, settings::AgentKey};
use crate::secret::Secret;

/// A secret of at least so many characters.
pub(in crate::config) struct SecretText {
    pub min_length: usize,
    pub at: At<Secret>,
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

/// Named keys, `name=key`.
pub(in crate::config) struct Keys {
    pub at: At<Vec<AgentKey>>,
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

    fn is_list(&self) -> bool {
        true
    }
}

/// URLs of nodes, `chain=url`.
pub(in crate::config) struct ChainUrls {
    pub check: fn(&str) -> bool,
    pub at: At<Vec<ChainUrl>>,
}

impl Field for ChainUrls {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let mut urls: Vec<ChainUrl> = Vec::new();
        for (index, item) in items(raw)?.iter().enumerate() {
            let entry = index + 1;
            let (chain, url) = item.split_once('=').ok_or_else(|| format!("entry {entry} is not `chain=url`"))?;
            let chain = chain.trim().parse().map_err(|_| format!("the chain of entry {entry} is not a number"))?;
            if urls.iter().any(|other| other.chain == chain) {
                return Err(format!("the chain {chain} is given twice"));
            }
            if !(self.check)(url.trim()) {
                return Err(format!("the URL of entry {entry} does not have the right form"));
            }
            urls.push(ChainUrl { chain, url: Secret::new(url.trim()) });
        }
        *(self.at)(draft) = urls;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        let urls: Vec<_> = (self.at)(draft).iter().map(|entry| format!("{}={}", entry.chain, entry.url)).collect();
        urls.join(",")
    }

    fn allowed(&self) -> String {
        "a list of `chain=url` (with commas between, or a TOML array), `https` only but for loopback".into()
    }

    fn is_secret(&self) -> bool {
        true
    }

    fn is_list(&self) -> bool {
        true
    }
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
