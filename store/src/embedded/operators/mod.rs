//! Operators' commands on a store's files: check, back up, restore, compact. All of them block.
//!
//! [`check`] and [`backup`] also work while a broker serves from the file, in this process or
//! another. [`restore`] and [`compact`] need the directory to themselves, and otherwise return
//! [`crate::StoreError::Locked`].

mod backup;
mod check;
mod compact;
mod existing;
mod restore;

pub use self::{
    backup::{Backup, Throttle, backup},
    check::{CheckReport, check},
    compact::{Compacted, compact},
    restore::{Restored, restore},
};
