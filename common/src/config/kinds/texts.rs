//! Kinds that are text: addresses, paths, checked words and lists.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use config::ValueKind;

use super::field::{At, Draft, Field, items, text};

/// An IP address and port.
pub(in crate::config) struct Address {
    pub at: At<SocketAddr>,
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

/// A path.
pub(in crate::config) struct Folder {
    pub at: At<PathBuf>,
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

/// A path that may be left unset.
pub(in crate::config) struct OptionalFolder {
    pub at: At<Option<PathBuf>>,
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

/// Text that a function checks.
pub(in crate::config) struct Text {
    pub allowed: &'static str,
    pub check: fn(&str) -> bool,
    pub at: At<String>,
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

/// Text that a function checks and that may be left unset.
pub(in crate::config) struct OptionalText {
    pub allowed: &'static str,
    pub check: fn(&str) -> bool,
    pub at: At<Option<String>>,
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

/// A list of texts, each checked by a function.
pub(in crate::config) struct List {
    pub allowed: &'static str,
    pub check: fn(&str) -> bool,
    pub at: At<Vec<String>>,
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

    fn is_list(&self) -> bool {
        true
    }
}

/// A list of the numbers of chains (EIP-155), at least one.
pub(in crate::config) struct Chains {
    pub at: At<Vec<u64>>,
}

impl Field for Chains {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let chains: Result<Vec<u64>, _> = items(raw)?.iter().map(|item| item.parse()).collect();
        let chains = chains.map_err(|_| "a chain is not a number")?;
        if chains.is_empty() {
            return Err("it is empty".into());
        }
        *(self.at)(draft) = chains;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        let chains: Vec<_> = (self.at)(draft).iter().map(u64::to_string).collect();
        chains.join(",")
    }

    fn allowed(&self) -> String {
        "a list of numbers (with commas between, or a TOML array)".into()
    }

    fn is_list(&self) -> bool {
        true
    }
}

/// One of several words, each with its value.
pub(in crate::config) struct Choice<T: 'static> {
    pub words: &'static [(&'static str, T)],
    pub at: At<T>,
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

fn checked(text: String, check: fn(&str) -> bool) -> Result<String, String> {
    if check(&text) { Ok(text) } else { Err("it does not have the right form".into()) }
}
