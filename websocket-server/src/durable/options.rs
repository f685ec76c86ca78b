//! Opens the store of the settings.

use std::sync::Arc;

use common::{
    config::{Backend, Durability, Retention, Settings, StoreSettings, StoredQuota},
    timestamp::millis,
};
use store::{Bounds, ChannelFamily, EmbeddedOptions, FamilyPolicy, Policies, Quota, Quotas, Store, StoreError, StoreOptions};

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder.
    #[error("the data folder cannot be used: {0}; name another with data.dir (DATA_DIR)")]
    Folder(#[from] std::io::Error),
    /// The disk has no room for what is written at every start: the mark of the run.
    #[error("the store cannot be opened, because the disk is full: nothing in it was changed; free some space and start again")]
    DiskFull,
    /// The store.
    #[error("cannot open the store: {0}")]
    Store(StoreError),
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskFull => Self::DiskFull,
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
    Ok(store::open(backend, &settings.data.dir, options).await?)
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
