//! Messages that the bridge understands and says. What peers may ask of the bridge is listed in the
//! broker's services; all other frames are routed by their target.

mod connection;
mod history;
mod payload;
mod peer;
mod system;
#[cfg(test)]
mod tests;

pub use connection::{AgentMessage, ClientMessage};
pub use history::{HistoryAsk, HistoryPage, KnownPosition, LostRecords, MAX_HISTORY, MAX_RESUMED, Recovery, ResumeAsk, Start};
pub use payload::read_payload;
pub use peer::{
    AgentDescription, AgentInfo, ClientInfo, MAX_DESCRIPTION_BYTES, SessionInfo, agent_id_in_query, client_name_in_query,
    parse_agent_id,
};
pub use system::{Ack, AnnouncedHeartbeat, AnnouncedLimits, MAX_ADDED_BYTES, Speaker, SystemMessage};
