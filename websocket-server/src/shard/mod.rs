//! The routing on one worker thread: its RouterActor, with the durable half, and the path from
//! connections to it.
//!
//! ```text
//!   connection ──Shard::try_send(Work)──▶ RouterActor ──▶ routing core, durable channels, bridge services
//! ```

mod actor;
mod ask;
mod dispatch;
mod durable;
mod handling;
mod local;
mod login;
mod waiting;
mod work;

pub use self::{
    actor::RouterActor,
    ask::{Ask, Call},
    dispatch::Dispatch,
    durable::{ChannelAsk, NotUsable, Subscription},
    local::Shard,
    login::Identify,
    work::{Asked, Attach, Detach, Marked, Post, RegisterFrame, Work},
};
