//! Types that the broker and the edge share.
//!
//! Message models, ids, errors, close codes, authentication primitives, configuration and telemetry
//! set-up. This crate does not depend on actix.

pub mod address;
pub mod assertion;
pub mod audit;
pub mod backoff;
pub mod backplane;
pub mod close;
pub mod config;
pub mod connection;
pub mod core_dumps;
pub mod dialect;
pub mod envelope;
pub mod error;
pub mod files;
pub mod id;
pub mod message;
pub mod network;
pub mod open_files;
pub mod rate;
pub mod secret;
pub mod telemetry;
pub mod timestamp;
