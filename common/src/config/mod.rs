//! Configuration: defaults < file < environment (`.env` below the real one) < flags. It is
//! validated as a whole before a socket opens.
//!
//! One table ([`table`]) describes every setting. The typed [`Settings`] for the crates, the
//! faults, the reference in `docs/configuration.md` and `.env.example` come from it. Binaries call
//! [`load`], then [`Loaded::resolve_secrets`]. This module opens no socket and logs nothing.

mod arguments;
mod auth_settings;
mod checks;
mod dialect_settings;
mod exposure;
mod faults;
mod former;
mod guards;
mod inputs;
mod kinds;
mod layers;
mod load;
mod reference;
mod rules;
mod secrets;
mod setting;
mod settings;
mod sign_in;
mod store_settings;
mod strength;
mod table;
#[cfg(test)]
mod tests;
mod tls;

pub use self::checks::ws_authority;
pub use arguments::ArgumentError;
pub use auth_settings::{AuthSettings, ChainUrl};
pub use dialect_settings::{DialectListener, DialectsSettings, HybridSettings, SupervisorSettings};
pub use faults::{Fault, Faults};
pub use guards::{AccessSettings, ProxyHeader, ProxySettings, Rates};
pub use inputs::{Flag, Inputs, Role};
pub use load::{Loaded, load};
pub use reference::{env_example, markdown};
pub use secrets::SecretsError;
pub use settings::{
    AgentKey, BrokerSettings, CookieSecure, DEV_AGENT_KEY, DataSettings, DemoSettings, Drain, Heartbeat, Limits, LogFormat,
    LogSettings, RETIRED_DEV_AGENT_KEY, Settings, WebSettings, dialable,
};
pub use store_settings::{Backend, DefaultDelivery, Durability, Retention, StoreSettings, StoredQuota};
pub use tls::{AcmeSettings, ClientCertificates, ListenerTls};
