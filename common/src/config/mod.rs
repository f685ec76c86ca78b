//! Configuration.

mod settings;

pub use settings::{
    AgentKey, BrokerSettings, CookieSecure, DEV_AGENT_KEY, DataSettings, DemoSettings, Drain, Heartbeat, Limits, LogFormat,
    LogSettings, Settings, WebSettings, dialable,
};
