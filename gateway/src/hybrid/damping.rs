//! Finds the messages that answer others. Pure.
//!
//! Clients of this dialect do not say what a message answers. Two clients that answer each
//! `sync_request` with a `sync_request` would go on for ever. So a `sync…` message that a client
//! sends soon after it got one of the same type counts as its answer. The bridge stops a chain of
//! answers to answers.

use std::collections::HashMap;

/// How soon after a message its answer comes, in milliseconds.
const SOON_MS: u64 = 2_000;
/// The beginning of the types that clients answer by themselves.
const SYNC: &str = "sync";
/// The most types that are remembered for a connection.
const MOST_TYPES: usize = 32;

/// The last messages of each type that one connection got.
#[derive(Debug, Default)]
pub struct Damping {
    got: HashMap<String, (String, u64)>,
}

impl Damping {
    /// The connection gets a message: its type, and the id under which the bridge knows it.
    pub fn on_got(&mut self, kind: &str, id: &str, now_ms: u64) {
        if !kind.starts_with(SYNC) {
            return;
        }
        if self.got.len() >= MOST_TYPES && !self.got.contains_key(kind) {
            self.got.retain(|_, (_, at)| at.saturating_add(SOON_MS) > now_ms);
            if self.got.len() >= MOST_TYPES {
                return;
            }
        }
        self.got.insert(kind.to_owned(), (id.to_owned(), now_ms));
    }

    /// The id of the message that a message of this type answers.
    pub fn answered_by(&self, kind: &str, now_ms: u64) -> Option<&str> {
        let (id, at) = self.got.get(kind)?;
        (at.saturating_add(SOON_MS) > now_ms).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sync_message_soon_after_one_of_its_type_is_an_answer() {
        let mut damping = Damping::default();
        damping.on_got("sync_request", "m1", 1_000);
        damping.on_got("task_update", "m2", 1_000);
        assert_eq!(damping.answered_by("sync_request", 1_500), Some("m1"));
        assert_eq!(damping.answered_by("sync_config", 1_500), None);
        assert_eq!(damping.answered_by("task_update", 1_500), None);
        assert_eq!(damping.answered_by("sync_request", 3_000), None);
        for number in 0..100 {
            damping.on_got(&format!("sync_{number}"), "m", 1_000);
        }
        assert_eq!(damping.got.len(), MOST_TYPES);
    }
}
