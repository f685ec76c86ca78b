//! Settings of durable messages.

use std::time::Duration;

const MIB: usize = 1 << 20;
const DAY: Duration = Duration::from_secs(86_400);

/// Durable messages.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Where durable messages are stored. Default [`Backend::Embedded`].
    pub backend: Backend,
    /// What `message:accepted` means. Default [`Durability::Fsync`].
    pub durability: Durability,
    /// The class of a message to an inbox whose sender names none. Default
    /// [`DefaultDelivery::Durable`].
    pub default_delivery: DefaultDelivery,
    /// Topics whose messages are durable, unless their sender says otherwise: names, or prefixes
    /// followed by `*`. Default none.
    pub durable_topics: Vec<String>,
    /// How long a receiver with `ack=explicit` may take before a message is delivered again;
    /// doubles with each delivery. Default 30 s.
    pub ack_timeout: Duration,
    /// How often the stored positions of readers are compared with the newest message. Default 10
    /// s.
    pub position_check: Duration,
    /// How often a message is delivered before it goes to the dead letters. Default 10.
    pub max_deliveries: usize,
    /// What an inbox keeps: of waiting messages, and as much again of acknowledged ones. Default
    /// 10,000 messages, 16 MiB, 7 days.
    pub inbox: Retention,
    /// What the log of a topic or broadcast keeps. Default 10,000 messages, 64 MiB, one day.
    pub topic: Retention,
    /// What a channel of dead letters keeps. Default 1,000 messages, 4 MiB, 7 days.
    pub dead_letters: Retention,
    /// A session that was not connected for so long is forgotten, with its inbox. Default 30 days.
    pub forget_sessions: Duration,
    /// Bytes of messages in the whole store; 0: no bound. Default 4 GiB.
    pub max_bytes: usize,
    /// Bytes that stay free on the disk, a tenth of it at most; 0: none. Default 1 GiB.
    pub disk_reserve: usize,
    /// What one session may have stored. Default 10,000 messages, 32 MiB.
    pub session_quota: StoredQuota,
    /// What one user may have stored. Default 20,000 messages, 64 MiB.
    pub user_quota: StoredQuota,
    /// What the sessions of one client address may have stored. Default 20,000 messages, 64 MiB.
    pub address_quota: StoredQuota,
    /// What the agents of one key may have stored. Default 2,000,000 messages, 2 GiB.
    pub key_quota: StoredQuota,
    /// Whether the audit log is written. Default true.
    pub audit: bool,
    /// Whether the audit log contains refused messages. Default false.
    pub audit_payloads: bool,
    /// How long entries of the audit log are kept. Default 90 days.
    pub audit_age: Duration,
}

/// How much of one sender may be stored, in inboxes and in the logs of topics and broadcasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredQuota {
    /// Messages; 0: no bound.
    pub messages: usize,
    /// Bytes; 0: no bound.
    pub bytes: usize,
}

/// How much a channel keeps; the oldest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Messages; 0: no bound.
    pub messages: usize,
    /// Bytes; 0: no bound.
    pub bytes: usize,
    /// Age; zero: no bound.
    pub age: Duration,
}

/// The class of a message to an agent, session or user whose sender names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultDelivery {
    /// Stored, unless it is a request (`timeout_ms`).
    Durable,
    /// Live only.
    Ephemeral,
}

/// Where durable messages are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In a file in the data folder.
    Embedded,
    /// In memory: messages survive a closed connection, but not the process.
    Memory,
}

/// What the confirmation of a durable message means, with a backend that has a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is on the disk: survives power loss.
    Fsync,
    /// The operating system has it: survives `kill -9`.
    Process,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            backend: Backend::Embedded,
            durability: Durability::Fsync,
            default_delivery: DefaultDelivery::Durable,
            durable_topics: Vec::new(),
            ack_timeout: Duration::from_secs(30),
            position_check: Duration::from_secs(10),
            max_deliveries: 10,
            inbox: Retention { messages: 10_000, bytes: 16 * MIB, age: 7 * DAY },
            topic: Retention { messages: 10_000, bytes: 64 * MIB, age: DAY },
            dead_letters: Retention { messages: 1000, bytes: 4 * MIB, age: 7 * DAY },
            forget_sessions: 30 * DAY,
            max_bytes: 4096 * MIB,
            disk_reserve: 1024 * MIB,
            session_quota: StoredQuota { messages: 10_000, bytes: 32 * MIB },
            user_quota: StoredQuota { messages: 20_000, bytes: 64 * MIB },
            address_quota: StoredQuota { messages: 20_000, bytes: 64 * MIB },
            key_quota: StoredQuota { messages: 2_000_000, bytes: 2048 * MIB },
            audit: true,
            audit_payloads: false,
            audit_age: 90 * DAY,
        }
    }
}

impl StoreSettings {
    /// Whether the messages of a topic are durable, unless their sender says otherwise.
    pub fn is_durable_topic(&self, name: &str) -> bool {
        self.durable_topics.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == pattern,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durable_topics_are_named_whole_or_by_their_beginning() {
        let store = StoreSettings { durable_topics: vec!["orders/*".into(), "alerts".into()], ..StoreSettings::default() };
        for (name, expected) in [("orders/1", true), ("orders/", true), ("order", false), ("alerts", true), ("alerts2", false)] {
            assert_eq!(store.is_durable_topic(name), expected, "{name}");
        }
    }
}
