//! Opens the store of the settings.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{
    config::{Backend, Durability, Retention, Settings, StoreSettings, StoredQuota},
    timestamp::millis,
};
use store::{Bounds, ChannelFamily, EmbeddedOptions, FamilyPolicy, Policies, Quota, Quotas, Store, StoreError, StoreOptions};

/// The positions of all sessions of one address or user, and of all agents with one key: as many as
/// so many sessions or agents may have.
const SESSIONS_OF_SOURCE: u64 = 25;

/// Bytes of the disk with which a start surely succeeds.
const START_BYTES: u64 = 1 << 20;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder.
    #[error("the data folder cannot be used: {0}; name another with data.dir (DATA_DIR)")]
    Folder(#[from] std::io::Error),
    /// The disk has no room for what is written at every start: the mark of the run, and the
    /// journal of the writes after it.
    #[error(
        "the store in {} cannot be opened: its disk has {free} bytes free, and a start needs {start}. Nothing in it was changed. \
         Free some space there, or name a folder on another disk with data.dir (DATA_DIR)",
        folder.display(),
        start = START_BYTES
    )]
    DiskFull {
        /// The data folder.
        folder: PathBuf,
        /// Bytes that are free.
        free: u64,
    },
    /// The store.
    #[error("cannot open the store: {0}")]
    Store(StoreError),
}

impl OpenError {
    /// The store in this folder cannot be opened.
    pub fn of(error: StoreError, folder: &Path) -> Self {
        match error {
            StoreError::DiskFull => Self::DiskFull { folder: folder.to_owned(), free: store::disk_free(folder) },
            error => Self::Store(error),
        }
    }
}

/// Opens it.
///
/// # Errors
/// The file cannot be opened, is damaged, in use, or of a newer release.
pub async fn open_store(settings: &Settings) -> Result<Arc<dyn Store>, OpenError> {
    let durability = match settings.store.durability {
        Durability::Fsync => store::Durability::Fsync,
        Durability::Process => store::Durability::Process,
    };
    let mut options = StoreOptions {
        policies: policies(&settings.store),
        max_bytes: settings.store.max_bytes as u64,
        quotas: quotas(&settings.store),
        max_positions: max_positions(settings),
        max_source_positions: max_positions(settings).saturating_mul(SESSIONS_OF_SOURCE),
        embedded: EmbeddedOptions::with(durability),
        ..StoreOptions::default()
    };
    let backend = match settings.store.backend {
        Backend::Memory => store::Backend::Memory,
        Backend::Embedded => {
            common::files::secure_folder(&settings.data.dir)?;
            options.disk_reserve = disk_reserve(settings);
            store::Backend::Embedded
        }
    };
    let folder = &settings.data.dir;
    store::open(backend, folder, options).await.map_err(|error| OpenError::of(error, folder))
}

/// How many positions all client names of one session or agent have together: enough for all that
/// are connected, and as many that are away.
fn max_positions(settings: &Settings) -> u64 {
    let limits = &settings.limits;
    limits.max_session_subscriptions.saturating_mul(2).max(limits.max_subscriptions.saturating_mul(4)) as u64
}

/// How much of the disk stays free; a tenth of a small one.
fn disk_reserve(settings: &Settings) -> u64 {
    (settings.store.disk_reserve as u64).min(store::disk_size(&settings.data.dir) / 10)
}

fn quotas(settings: &StoreSettings) -> Quotas {
    let quota = |of: StoredQuota| Quota { records: of.messages as u64, bytes: of.bytes as u64 };
    Quotas {
        session: quota(settings.session_quota),
        user: quota(settings.user_quota),
        address: quota(settings.address_quota),
        key: quota(settings.key_quota),
    }
}

fn policies(settings: &StoreSettings) -> Policies {
    let bounds = |keep: Retention| Bounds { records: keep.messages as u64, bytes: keep.bytes as u64, age_ms: millis(keep.age) };
    let inbox = FamilyPolicy { log: bounds(settings.inbox), inbox: bounds(settings.inbox) };
    let log = |keep| FamilyPolicy { log: bounds(keep), inbox: Bounds::default() };
    let mut policies = Policies::default();
    for family in ChannelFamily::ALL {
        let policy = match family {
            ChannelFamily::Agent | ChannelFamily::Session | ChannelFamily::User => inbox,
            ChannelFamily::Topic | ChannelFamily::Broadcast => log(settings.topic),
            ChannelFamily::Dead => log(settings.dead_letters),
        };
        policies.set(family, policy);
    }
    policies.audit.age_ms = millis(settings.audit_age);
    policies
}
