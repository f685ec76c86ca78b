//! A client of the broker's two doors: `/ws/client`, for sessions, and `/ws/agent`, for agents;
//! over a socket, or over a pipe to a broker in the same process.
//!
//! A [`Door`] sends, an [`Inbox`] receives. Behind them a task keeps a connection to the broker: it
//! dials and dials again with a random wait that grows, answers pings, gives up a broker that fell
//! silent, honours close codes as the protocol asks, restores subscriptions, and goes on in every
//! channel after the last message that it had. [`DoorState`] says where it is.
//!
//! A session whose client name another connection takes over (4011) comes back under a name of its
//! own making, from its positions. An agent whose id another takes over (4009) is closed for good,
//! and so is whoever has to renew its credentials (4001).
//!
//! | call | delivery |
//! |---|---|
//! | [`Door::send`] | at most once |
//! | [`Door::publish`] | stored exactly once within the two minutes in which the broker knows ids again; sent again until it is confirmed |
//! | [`Door::request`] | at most once; the first answer, a refusal, or a time-out. Lost with the connection: [`DoorError::Interrupted`] |
//! | [`Door::ask`], [`Door::subscribe`] | asked again on the next connection until they are answered |
//! | [`Inbox::recv`] | durable messages at least once; what may have come before is marked in [`Incoming::redelivered`] |
//!
//! Every queue is bounded: messages to be sent (then senders wait), calls (then they are refused),
//! messages to be taken (then the connection is not read, and the broker counts this receiver as
//! slow).
//!
//! ```
//! # use std::{sync::Arc, time::Duration};
//! # use common::{config::Settings, secret::Secret, id::AgentId};
//! use common::{address::Address, assertion::ClientIdentity, id::SessionId};
//! use gateway::doors::{AgentEntrance, AgentOptions, BrokerAddress, Door, Outgoing, SessionEntrance, SessionOptions, Tuning};
//! use serde_json::json;
//!
//! # actix_rt::System::new().block_on(async {
//! # let folder = tempfile::tempdir()?;
//! # let mut settings = Settings::for_tests();
//! # settings.data.dir = folder.path().to_owned();
//! # settings.broker.addr = ([127, 0, 0, 1], 0).into();
//! # let broker = websocket_server::start(&settings).await?;
//! # let url = format!("ws://{}", broker.addr());
//! # let key = settings.broker.agent_keys[0].key.clone();
//! # let secret = settings.broker.bridge_secret.clone();
//! let address = BrokerAddress::new(&url, None, Duration::from_secs(5));
//!
//! // An agent that answers every question.
//! let agent = AgentOptions {
//!     entrance: AgentEntrance::Socket(address.clone()),
//!     agent: AgentId::new("echo")?,
//!     key,
//!     registration: Some(json!({"name": "Echo"})),
//!     tuning: Tuning::default(),
//! };
//! let (agent, mut questions) = Door::agent(agent);
//! agent.opened().await?;
//! tokio::spawn(async move {
//!     while let Some(question) = questions.recv().await {
//!         if question.kind == "message:send" {
//!             let payload = question.payload::<serde_json::Value>().unwrap_or_default();
//!             let _ = agent.send(Outgoing::answer("message:done", &question).payload(payload)).await;
//!         }
//!     }
//! });
//!
//! // A session that asks it.
//! let session = SessionOptions {
//!     entrance: SessionEntrance::Socket { address, secret },
//!     identity: ClientIdentity::anonymous(SessionId::fresh()),
//!     tuning: Tuning::default(),
//! };
//! let (session, _inbox) = Door::session(session);
//! let question = Outgoing::new("message:send").to(&Address::parse("agent:echo")?).payload(json!({"text": "hello"}));
//! let answer = session.request(question, Duration::from_secs(5)).await?;
//! assert_eq!(answer.payload::<serde_json::Value>()?, json!({"text": "hello"}));
//! session.drain(Duration::from_secs(5)).await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! ```text
//!   Door ──commands──▶ task: shell ◀──▶ socket or pipe
//!   Inbox ◀─messages──   └─ Machine (pure): connection, calls, positions, acknowledgements
//! ```

mod calls;
mod door;
mod error;
mod events;
mod incoming;
mod machine;
mod options;
mod outgoing;
mod reading;
mod shell;
mod state;
mod way;

pub use common::backoff::Backoff;
pub use door::{Confirmed, Door, Inbox, Subscribed};
pub use error::{BridgeError, DoorError, Ending};
pub use incoming::{Incoming, Position};
pub use options::{AgentEntrance, AgentOptions, SessionEntrance, SessionOptions, Tuning};
pub use outgoing::{Outgoing, Payload};
pub use reading::Positions;
pub use state::DoorState;
pub use way::{AgentPipe, BrokerAddress, SessionPipe};
