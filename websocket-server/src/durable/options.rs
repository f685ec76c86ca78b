//! Opens the store that the settings ask for.

use std::sync::Arc;

use common::config::{Durability, Settings};
use store::{Store, StoreError, StoreOptions};

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder.
    #[error("cannot create the data folder: {0}")]
    Folder(#[from] std::io::Error),
    /// The store.
    #[error("cannot open the store: {0}")]
    Store(#[from] StoreError),
}

/// Opens it.
///
/// # Errors
/// The file cannot be opened, is damaged, in use, or of a newer release.
pub fn open_store(settings: &Settings) -> Result<Arc<dyn Store>, OpenError> {
    let durability = match settings.store.durability {
        Durability::Fsync => store::Durability::Fsync,
        Durability::Process => store::Durability::Process,
        Durability::Memory => store::Durability::Memory,
    };
    if durability != store::Durability::Memory {
        std::fs::create_dir_all(&settings.data.dir)?;
    }
    Ok(store::open(&settings.data.dir, StoreOptions { durability, ..StoreOptions::default() })?)
}
