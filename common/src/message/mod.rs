//! The messages the bridge itself understands and says; everything else is routed by its target.

mod ask;
mod history;
mod peer;
mod system;
#[cfg(test)]
mod tests;

pub use ask::{AckAsk, AgentMessage, ClientMessage, NackAsk, Page, PeerRequest};
pub use history::{HistoryAsk, HistoryPage, KnownPosition, LostRecords, MAX_HISTORY, MAX_RESUMED, Recovery, ResumeAsk, Start};
pub use peer::{AgentDescription, AgentInfo, ClientInfo, MAX_DESCRIPTION_BYTES, SessionInfo, parse_agent_id};
pub use system::{Ack, AnnouncedHeartbeat, AnnouncedLimits, Speaker, SystemMessage};
