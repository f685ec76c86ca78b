//! A revocation at one edge holds at all edges of the same broker: each edge tells the broker what
//! it has revoked, and asks what others have.
//!
//! The broker is asked several times a second, and at once when something was revoked here or when
//! it refuses a client. While it is away, revocations wait in the table. A restarted broker is told
//! everything. Revocations of others are in force, on this edge's disk and over its open sockets,
//! as if they had been made here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use common::{assertion::ClientIdentity, close::CloseCode, error::ErrorCode};
use identity::revocations::{Exchange, MOST_EXCHANGED, Revocation, Standing};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use super::{
    authority::SessionAuthority,
    open_sockets::{OpenSockets, Order},
};
use crate::{
    broker_reach::BrokerReach,
    http::{BrokerApi, TellError},
};

/// How often the broker is asked.
const EVERY: Duration = Duration::from_millis(400);
/// How long after a revocation sockets elsewhere may be closed because of it. A page whose socket
/// closes asks for its session at once, and must have the answer to its logout or login by then.
const ANSWER_FIRST: Duration = Duration::from_millis(250);
/// How long the last exchange of an edge that stops may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// See the module.
pub struct Sharing {
    authority: Arc<SessionAuthority>,
    sockets: Arc<OpenSockets>,
    broker: Arc<BrokerApi>,
    cursor: Mutex<Cursor>,
    /// Whether the broker answers.
    pub reach: BrokerReach,
    /// Completed exchanges, whatever their outcome.
    finished: AtomicU64,
}

/// Up to where edge and broker know each other's revocations.
#[derive(Default)]
struct Cursor {
    /// The life of the broker that this refers to.
    life: Option<String>,
    /// The broker's number up to which the edge knows.
    heard: u64,
    /// The edge's number up to which the broker knows.
    told: u64,
}

impl Sharing {
    /// The exchange between this edge's sessions and its broker.
    pub fn new(authority: Arc<SessionAuthority>, sockets: Arc<OpenSockets>, broker: Arc<BrokerApi>) -> Self {
        Self { authority, sockets, broker, cursor: Mutex::default(), reach: BrokerReach::default(), finished: AtomicU64::new(0) }
    }

    /// Exchanges revocations as long as it is polled.
    pub async fn keep(&self) {
        loop {
            let mut cursor = self.cursor.lock().await;
            self.exchange(&mut cursor).await;
            drop(cursor);
            tokio::select! {
                biased;
                () = self.authority.has_revoked() => sleep(ANSWER_FIRST).await,
                () = sleep(EVERY) => {}
            }
        }
    }

    /// Exchanges revocations now, because the broker has refused somebody. Many that wait at once
    /// cause one exchange, or two.
    pub async fn catch_up(&self) {
        // The broker may have answered the running exchange before the refusal; the one after it is
        // later.
        let enough = self.finished.load(SeqCst) + 2;
        let mut cursor = self.cursor.lock().await;
        if self.finished.load(SeqCst) < enough {
            self.exchange(&mut cursor).await;
        }
    }

    /// Tells the broker what it does not know yet, within a short time.
    pub async fn finish(&self) {
        let telling = async {
            let mut cursor = self.cursor.lock().await;
            if !self.authority.revoked_since(cursor.told, 1).revocations.is_empty() {
                self.exchange(&mut cursor).await;
            }
        };
        if timeout(LAST_WORDS, telling).await.is_err() {
            tracing::debug!("the broker does not know the last revocations; it is told at the next start");
        }
    }

    /// How far the broker's clock is ahead of this machine's; 0 until the broker has objected.
    pub fn broker_ahead_seconds(&self) -> i64 {
        self.broker.signer.ahead_ms() / 1000
    }

    /// Checks that what the broker was told about a client is still valid.
    ///
    /// # Errors
    /// `session_ended`, `credentials_expired`.
    pub fn check(&self, identity: &ClientIdentity) -> Result<(), ErrorCode> {
        self.authority.check_standing(&Standing::of(identity))
    }

    async fn exchange(&self, cursor: &mut Cursor) {
        while self.exchange_some(cursor).await {}
        self.finished.fetch_add(1, SeqCst);
    }

    /// Returns whether there is more to tell or to learn.
    async fn exchange_some(&self, cursor: &mut Cursor) -> bool {
        let mine = self.authority.revoked_since(cursor.told, MOST_EXCHANGED);
        let ask = Exchange { life: cursor.life.clone(), after: cursor.heard, revocations: mine.revocations };
        let answer = match self.broker.exchange(&ask).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "revocations were not shared with the broker");
                match error {
                    TellError::Refused => self.reach.on_refusal(&error.to_string()),
                    TellError::Other(_) => self.reach.on_no_answer(),
                }
                return false;
            }
        };
        self.reach.on_answer(&answer.life);
        let is_another = ask.life.as_ref() != Some(&answer.life);
        // A restarted broker may have lost what it was told.
        let told = if is_another && cursor.told > 0 { 0 } else { mine.upto };
        *cursor = Cursor { life: Some(answer.life), heard: answer.upto, told };
        self.learn(answer.revocations).await;
        mine.more || answer.more || is_another && told == 0 && mine.upto > 0
    }

    async fn learn(&self, revocations: Vec<Revocation>) {
        let (news, written) = self.authority.learn(revocations);
        for revocation in &news {
            let Revocation { session, least, .. } = *revocation;
            let (least, order) = match revocation.ended() {
                Some((_, least)) => (least, Order::Close { code: CloseCode::SESSION_ENDED, reason: "the session was ended" }),
                None => {
                    let reason = "the session has logged in: come back with its new credentials";
                    (least.unwrap_or(u64::MAX), Order::Close { code: CloseCode::CREDENTIALS_EXPIRED, reason })
                }
            };
            self.sockets.order_older(session, least, &order);
        }
        written.await;
    }
}
