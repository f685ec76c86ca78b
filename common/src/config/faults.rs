//! The faults of a configuration, all at once.

use std::fmt;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, the environment name, or the file.
    pub key: String,
    /// The source of the value, such as `agent-bridge.toml` or `environment AGENT_TOKEN`; empty if
    /// there is none.
    pub origin: String,
    /// What is wrong and what is allowed. Holds no secret.
    pub message: String,
}

impl Fault {
    pub(super) fn new(key: impl Into<String>, origin: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), origin: origin.into(), message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.key)?;
        if !self.origin.is_empty() {
            write!(out, " (from {})", self.origin)?;
        }
        write!(out, ": {}", self.message)
    }
}

/// Every fault of a configuration, at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(out, "the configuration has {count} fault{}:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|fault| write!(out, "\n  - {fault}"))
    }
}

/// The candidate closest to `name` in edits, if it is close enough to be what was meant.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let closest = candidates.map(|candidate| (edits(name, candidate), candidate)).min();
    closest.filter(|(distance, candidate)| *distance <= candidate.len() / 3 + 1).map(|(_, candidate)| candidate)
}

/// How many characters must be added, removed or replaced to turn one into the other.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, letter) in left.chars().enumerate() {
        let mut diagonal = line;
        let mut before = line + 1;
        for (other, above) in right.iter().zip(row.iter_mut().skip(1)) {
            let cost = (diagonal + usize::from(letter != *other)).min(before + 1).min(*above + 1);
            diagonal = std::mem::replace(above, cost);
            before = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (left, right, expected) in [("", "abc", 3), ("kitten", "sitting", 3), ("same", "same", 0), ("abc", "", 3)] {
            assert_eq!(edits(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn nearest_is_named_only_when_close() {
        let known = ["broker.addr", "web.addr", "limits.max_depth"];
        assert_eq!(nearest("broker.adr", known.into_iter()), Some("broker.addr"));
        assert_eq!(nearest("zzzzzzzzzzzzzzzzz", known.into_iter()), None);
    }
}
