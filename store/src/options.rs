//! The options of a store.

use crate::{channel::ChannelFamily, embedded_options::EmbeddedOptions, quota::Quotas};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The most records that one append or acknowledgement removes from a log; [`crate::Store::trim`]
/// removes the rest.
pub(crate) const INLINE_BUDGET: u64 = 1_024;

/// Where a store keeps its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Backend {
    /// In one file of the data folder, written by this process.
    #[default]
    Embedded,
    /// In memory: it survives a closed connection, but not the process.
    Memory,
}

/// Three bounds; 0: no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Records.
    pub records: u64,
    /// Bytes of frames.
    pub bytes: u64,
    /// Milliseconds since it was stored.
    pub age_ms: u64,
}

impl Bounds {
    /// Whether so much exceeds one of the bounds, age aside.
    pub fn exceeded_by(&self, records: u64, bytes: u64) -> bool {
        (self.records != 0 && records > self.records) || (self.bytes != 0 && bytes > self.bytes)
    }
}

/// What a channel of one family keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FamilyPolicy {
    /// Of settled records. At the bound the oldest are removed.
    pub log: Bounds,
    /// Of records that wait for an acknowledgement. At the bound the oldest of the lowest priority
    /// becomes a dead letter, of the sender that has most there; see [`crate::Store::append`].
    pub inbox: Bounds,
}

/// The policies of all families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies {
    families: [FamilyPolicy; ChannelFamily::ALL.len()],
    /// Empty channels are forgotten after so many milliseconds without a new record; 0: never.
    /// Default one day.
    pub forget_channels_ms: u64,
    /// Cursors that were not saved for so many milliseconds are forgotten; 0: never. Default 30
    /// days.
    pub forget_cursors_ms: u64,
    /// Entries of the audit log; the age applies too. Default 1,000,000 and 90 days. Bytes are not
    /// counted.
    pub audit: Bounds,
}

impl Policies {
    /// The policy of a family.
    pub fn family(&self, family: ChannelFamily) -> &FamilyPolicy {
        let [agent, session, user, topic, dead, broadcast] = &self.families;
        match family {
            ChannelFamily::Agent => agent,
            ChannelFamily::Session => session,
            ChannelFamily::User => user,
            ChannelFamily::Topic => topic,
            ChannelFamily::Dead => dead,
            ChannelFamily::Broadcast => broadcast,
        }
    }

    /// Changes the policy of a family.
    pub fn set(&mut self, family: ChannelFamily, policy: FamilyPolicy) {
        if let Some(place) = self.families.get_mut(family.index()) {
            *place = policy;
        }
    }
}

impl Default for Policies {
    fn default() -> Self {
        let log = Bounds { records: 10_000, bytes: 16 * MIB, age_ms: 7 * DAY_MS };
        let inbox = FamilyPolicy { log, inbox: log };
        let topic = FamilyPolicy { log: Bounds { records: 10_000, bytes: 64 * MIB, age_ms: DAY_MS }, inbox: log };
        let dead = FamilyPolicy { log: Bounds { records: 1_000, bytes: 4 * MIB, age_ms: 7 * DAY_MS }, inbox: Bounds::default() };
        Self {
            families: [inbox, inbox, inbox, topic, dead, topic],
            forget_channels_ms: DAY_MS,
            forget_cursors_ms: 30 * DAY_MS,
            audit: Bounds { records: 1_000_000, bytes: 0, age_ms: 90 * DAY_MS },
        }
    }
}

/// All options of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// What is kept.
    pub policies: Policies,
    /// How long a repeated message is recognised, in milliseconds; 0: never. Default two minutes.
    pub dedup_window_ms: u64,
    /// How many messages that window holds; the oldest leave it early. Default 262,144 (about 24
    /// MiB).
    pub dedup_max: usize,
    /// Largest frame, in bytes. Default 16 MiB.
    pub max_record_bytes: u64,
    /// Bytes of frames in the whole store. What is charged to owners is refused at the bound: of
    /// anonymous sessions at half of it, of users at three quarters. Acknowledged records and dead
    /// letters use what is left free, and give way. 0: no bound. Default 0.
    pub max_bytes: u64,
    /// Bytes that stay free on the file's disk. With less, appends are refused; agents may use half
    /// of it. Measured once a second. 0: none. Default 0.
    pub disk_reserve: u64,
    /// What one session, user, address or agent key may have stored. Default no bounds.
    pub quotas: Quotas,
    /// The most channels; at the bound records for new ones are refused. Anonymous sessions and
    /// users may use a part of it only ([`crate::Standing::part_of`]). Default 2,000,000.
    pub max_channels: u64,
    /// The most retained values; at the bound those of new channels are refused. Anonymous sessions
    /// and users may use a part of it only, as with channels. Default 100,000.
    pub max_retained: u64,
    /// The most positions of all clients behind one address together. At the bound, the positions
    /// of the client that has not saved one for the longest time are forgotten. 0: no bound.
    /// Default 10,000.
    pub max_positions: u64,
    /// The most positions of all clients of one source together: of the sessions of one network
    /// address, of one user, of the agents with one key. At the bound, the session or agent whose
    /// clients have not saved one for the longest time loses all of theirs. 0: no bound. Default
    /// 200,000.
    pub max_source_positions: u64,
    /// Writes that may wait for the disk; more are refused. Default 65,536.
    pub queue_writes: usize,
    /// Bytes of frames that may wait for the disk; more are refused. Default 64 MiB.
    pub queue_bytes: usize,
    /// Writes in one commit. Default 1,024.
    pub batch_writes: usize,
    /// Options that only the embedded backend uses.
    pub embedded: EmbeddedOptions,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            policies: Policies::default(),
            dedup_window_ms: 2 * 60 * 1000,
            dedup_max: 256 * 1024,
            max_record_bytes: 16 * MIB,
            max_bytes: 0,
            disk_reserve: 0,
            quotas: Quotas::default(),
            max_channels: 2_000_000,
            max_retained: 100_000,
            max_positions: 10_000,
            max_source_positions: 200_000,
            queue_writes: 65_536,
            queue_bytes: 64 << 20,
            batch_writes: 1_024,
            embedded: EmbeddedOptions::default(),
        }
    }
}

impl StoreOptions {
    /// Refuses options that cannot work.
    pub(crate) fn check(&self) -> Result<(), crate::StoreError> {
        if [self.queue_writes, self.queue_bytes, self.batch_writes].contains(&0) {
            return Err(crate::StoreError::Invalid("the store's queues and threads must not be 0"));
        }
        self.embedded.check()
    }
}
