//! What outlives a connection and, except for [`MemoryStore`], the process.
//!
//! Owns the log of every channel, what waits in inboxes, retained values, cursors, sessions, the
//! audit log, and the counter for sequence numbers. The broker's durable delivery calls it through
//! [`Store`]. Nothing here routes, delivers, or reads a clock.
//!
//! A *channel* is a log of *records*. A record has a *sequence number* from one counter for all
//! channels. A number and the *epoch* are a *position*. A record that must be acknowledged *waits*
//! until it is, or until it is moved to a *dead-letter* channel. A record that need not be
//! acknowledged, or no longer need be, is *settled*, and stays as long as retention allows.
//!
//! [`EmbeddedStore`] is one file, [`MemoryStore`] has none. `tests/contract` is what every store
//! must pass.

mod admission;
mod api;
mod audit;
mod channel;
mod dead;
mod dedup;
mod embedded;
mod embedded_options;
mod error;
mod file_identity;
mod gaps;
mod health;
mod inbox;
mod lane;
mod ledger;
mod leftovers;
mod memory;
mod options;
mod owner;
mod position;
mod quota;
mod record;
mod session;
mod shares;
mod surplus;
mod write_queue;

use std::{path::Path, sync::Arc};

pub use self::{
    api::{Reply, Store},
    audit::{AuditQuery, AuditRow},
    channel::{ChannelFamily, ChannelName, ChannelNameError},
    dead::{DeadLettered, DeadOrigin, DeadReason, Death, MAX_REASON},
    embedded::{DATABASE, EmbeddedStore, disk_free, disk_size, operators},
    embedded_options::{Durability, EmbeddedOptions},
    error::StoreError,
    health::{NewEpoch, StoreHealth},
    inbox::{Ack, Delivered, Nack, Pending, PendingQuery, Trimmed},
    memory::MemoryStore,
    options::{Backend, Bounds, FamilyPolicy, Policies, StoreOptions},
    owner::{Owner, OwnerKey, Standing},
    position::{Epoch, MAX_SEQ, Position},
    quota::{Kind, PositionsReport, Quota, Quotas, Usage, UsageReport},
    record::{
        Appended, ChannelInfo, FirstDelivery, Limits, Lost, MAX_SOURCE, MessageKey, NewRecord, Page, Precision, ReadFrom,
        RecentId, Record,
    },
    session::{ConsumerId, Forgotten, MAX_CONSUMER, Retained},
};

/// Opens a store: in memory, or in a file in the directory.
///
/// # Errors
/// The options cannot work; the file cannot be opened, is damaged, in use, or of a newer release.
pub async fn open(backend: Backend, dir: &Path, options: StoreOptions) -> Result<Arc<dyn Store>, StoreError> {
    match backend {
        Backend::Memory => Ok(Arc::new(MemoryStore::new(options)?)),
        Backend::Embedded => {
            let dir = dir.to_owned();
            let opening = tokio::task::spawn_blocking(move || EmbeddedStore::open(&dir, options));
            let opened = opening.await.map_err(|_| StoreError::Internal("the thread that opens it has panicked".to_owned()))?;
            Ok(Arc::new(opened?))
        }
    }
}
