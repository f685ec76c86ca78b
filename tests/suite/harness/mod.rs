//! Processes of the daemon, a small HTTP client, WebSocket peers that send and expect frames, and
//! doors for peers that reconnect by themselves.

mod chance;
mod doors;
mod echo;
mod event_stream;
mod http;
mod patience;
mod peer;
mod process;
mod site;
mod wallet;

pub use chance::{Chance, scaled};
pub use doors::{BRIDGE_SECRET, door_at, quick};
pub use echo::{EchoAgent, answer_all};
pub use event_stream::EventStream;
pub use http::{Answer, post, post_with, request};
pub use patience::{LIMIT, eventually, everyone, in_time};
pub use peer::{DialError, Ended, Peer, question};
pub use process::{PROGRAM, Process, program};
pub use site::{AGENT_KEY, Credentials, Site};
pub use wallet::Wallet;
