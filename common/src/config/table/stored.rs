//! The settings of what outlives the process: data, durable messages, certificates.

use std::time::Duration;

use crate::config::checks::{is_domain, is_https_url, is_mail_address, is_topic_pattern};
use crate::config::kinds::{Choice, Flag, Folder, Integer, List, OptionalFolder, OptionalText, Size, Span, Text};
use crate::config::setting::{Setting, settings};
use crate::config::store_settings::{Backend, DefaultDelivery, Durability};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const GIB: usize = 1 << 30;

/// The rows, in the order of the reference.
pub(super) static ROWS: &[Setting] = settings! {
    "data.dir" | "DATA_DIR" => Folder { at: |d| &mut d.settings.data.dir },
        "The folder for what outlives the process. Created when needed, readable by its owner only.";

    "store.backend" => Choice {
        words: &[("embedded", Backend::Embedded), ("memory", Backend::Memory)],
        at: |d| &mut d.settings.store.backend,
    },
        "Where durable messages are stored. `embedded`: in a file in the data folder. `memory`: in memory, so that \
        nothing outlives the process.";
    "store.durability" => Choice {
        words: &[("fsync", Durability::Fsync), ("process", Durability::Process)],
        at: |d| &mut d.settings.store.durability,
    },
        "What the confirmation of a durable message means. `fsync`: it is on the disk. `process`: it survives `kill \
        -9`, but not a power loss. Without effect if `store.backend` is `memory`.";
    "store.default_delivery" => Choice {
        words: &[("durable", DefaultDelivery::Durable), ("ephemeral", DefaultDelivery::Ephemeral)],
        at: |d| &mut d.settings.store.default_delivery,
    },
        "The class of a message to an agent, session or user whose sender names none. Requests (`timeout_ms`) are \
        ephemeral in any case.";
    "store.durable_topics" => List {
        allowed: "names of topics, or beginnings of names followed by `*`",
        check: is_topic_pattern,
        at: |d| &mut d.settings.store.durable_topics,
    },
        "Topics whose messages are durable, unless their sender says otherwise.";
    "store.ack_timeout" => Span { min: Duration::from_millis(10), max: DAY, at: |d| &mut d.settings.store.ack_timeout },
        "How long a receiver with `ack=explicit` may take before a durable message is delivered again. Doubles with \
        each delivery, up to an hour.";
    "store.max_deliveries" => Integer { min: 1, max: 1000, at: |d| &mut d.settings.store.max_deliveries },
        "How often a durable message is delivered before it goes to the dead letters.";
    "store.position_check" => Span { min: Duration::from_millis(100), max: HOUR, at: |d| &mut d.settings.store.position_check },
        "How often the positions of readers of topics and broadcasts are compared with the newest message. A reader \
        that turns out to be behind continues from the log.";
    "store.inbox_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.inbox.messages },
        "The number of unacknowledged messages that an inbox keeps, and as many acknowledged ones; 0: no bound.";
    "store.inbox_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.inbox.bytes },
        "The number of unacknowledged bytes that an inbox keeps, and as many acknowledged ones; 0: no bound.";
    "store.inbox_age" => Span { min: Duration::ZERO, max: YEAR, at: |d| &mut d.settings.store.inbox.age },
        "How long an inbox keeps its messages; 0: for ever.";
    "store.topic_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.topic.messages },
        "The number of messages that the log of a topic or broadcast keeps; 0: no bound.";
    "store.topic_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.topic.bytes },
        "The number of bytes that the log of a topic or broadcast keeps; 0: no bound.";
    "store.topic_age" => Span { min: Duration::ZERO, max: YEAR, at: |d| &mut d.settings.store.topic.age },
        "How long the log of a topic or broadcast keeps its messages; 0: for ever.";
    "store.dead_letters_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.dead_letters.messages },
        "The number of messages that a channel of dead letters keeps; 0: no bound.";
    "store.dead_letters_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.dead_letters.bytes },
        "The number of bytes that a channel of dead letters keeps; 0: no bound.";
    "store.dead_letters_age" => Span { min: Duration::ZERO, max: YEAR, at: |d| &mut d.settings.store.dead_letters.age },
        "How long a channel of dead letters keeps its messages; 0: for ever.";
    "store.forget_sessions" => Span { min: MINUTE, max: YEAR, at: |d| &mut d.settings.store.forget_sessions },
        "A session that was not connected for so long is forgotten; what waits for it goes to the dead letters.";
    "store.max_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.max_bytes },
        "Bytes of messages in the whole store; beyond, durable messages are refused with `store_full`. Anonymous \
        sessions may fill half of it with waiting messages and logs of topics, users three quarters. Acknowledged \
        messages and dead letters use what is left free. 0: no bound but the disk.";
    "store.disk_reserve" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.disk_reserve },
        "Bytes that stay free on the data folder's disk, a tenth of the disk at most. With less, durable messages are \
        refused with `store_full`; agents may use half of the reserve. 0: none.";
    "store.session_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.session_quota.messages },
        "Durable messages that a session may have stored, in inboxes and in logs of topics; more are refused with \
        `quota_exceeded`. 0: no bound.";
    "store.session_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.session_quota.bytes },
        "The same in bytes; 0: no bound.";
    "store.user_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.user_quota.messages },
        "Durable messages that a user, over all sessions, may have stored, in inboxes and in logs of topics; more are \
        refused with `quota_exceeded`. 0: no bound.";
    "store.user_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.user_quota.bytes },
        "The same in bytes; 0: no bound.";
    "store.address_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.address_quota.messages },
        "Durable messages that the sessions of one client address may have stored, in inboxes and in logs of topics; \
        more are refused with `quota_exceeded`. 0: no bound.";
    "store.address_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.address_quota.bytes },
        "The same in bytes; 0: no bound.";
    "store.key_messages" => Integer { min: 0, max: 1_000_000_000, at: |d| &mut d.settings.store.key_quota.messages },
        "Durable messages that the agents with one key may have stored, in inboxes and in logs of topics; more are \
        refused with `quota_exceeded`. 0: no bound.";
    "store.key_bytes" => Size { min: 0, max: 1024 * GIB, at: |d| &mut d.settings.store.key_quota.bytes },
        "The same in bytes; 0: no bound.";
    "store.audit" => Flag { at: |d| &mut d.settings.store.audit },
        "Whether the audit log is written: connections, authentications, refusals, administrative acts.";
    "store.audit_payloads" => Flag { at: |d| &mut d.settings.store.audit_payloads },
        "Whether entries of the audit log about refused messages contain those messages, up to 16 KiB of each.";
    "store.audit_age" => Span { min: MINUTE, max: YEAR, at: |d| &mut d.settings.store.audit_age },
        "How long entries of the audit log are kept; of more than 1,000,000 the oldest go first.";

    "acme.domains" => List { allowed: "DNS names", check: is_domain, at: |d| &mut d.settings.acme.domains },
        "The names to order a certificate for. Each must lead to a listener of this bridge, on port 443 from outside.";
    "acme.directory_url" => Text { allowed: "`https://...`", check: is_https_url, at: |d| &mut d.settings.acme.directory_url },
        "The directory of the certificate authority; the default is Let's Encrypt.";
    "acme.ca_file" => OptionalFolder { at: |d| &mut d.settings.acme.ca_file },
        "The authorities of the directory's own certificate, PEM. Unset: the system's.";
    "acme.contact" => OptionalText { allowed: "an e-mail address", check: is_mail_address, at: |d| &mut d.settings.acme.contact },
        "Where the authority may write to about the certificates.";
    "acme.agree_terms" => Flag { at: |d| &mut d.settings.acme.agree_terms },
        "Whether you agree to the authority's terms of service. Required to order certificates.";
};
