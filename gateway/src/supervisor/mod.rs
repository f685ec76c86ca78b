//! The dialect `supervisor`: text messages and mail for an agent, over a WebSocket on any path and
//! over the webhooks of Twilio and SendGrid. docs/dialects.md describes it for users.
//!
//! | part | pure | does |
//! |---|---|---|
//! | [`frames`], [`answers`], [`kinds`] | yes | the codec: a client's frames, the agent's answers |
//! | [`replies`] | yes | the order of a connection's replies |
//! | [`twilio`], [`mail`] | yes | what the webhooks read and answer |
//! | `line` | | asks the agent through a door |
//! | `conversation` | | one client's socket |
//! | `webhooks` | | `POST /sms/inbound`, `POST /email/inbound` |
//!
//! Each client is a session of its own. Clients with the dialect's key share the user
//! `dialect:supervisor`: what an agent sends to that user reaches each of them, and waits while
//! none is there. Requests become `message:send` to one agent, so any agent can answer them.

pub mod answers;
mod conversation;
pub mod frames;
pub mod kinds;
mod line;
pub mod mail;
mod program;
pub mod replies;
mod routes;
pub mod twilio;
mod webhooks;

pub use program::Supervisor;
