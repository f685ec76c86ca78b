//! The keys that agents present. They are checked at each handshake, and read again when the file
//! has changed or the operator asks. When a key ends, its connections are closed.

use std::{
    collections::HashMap,
    fmt, fs,
    os::unix::fs::MetadataExt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use common::{
    close::CloseCode,
    config::{DEV_AGENT_KEY, RETIRED_DEV_AGENT_KEY, Settings},
    error::{ClientError, ErrorCode},
    id::AgentId,
};
use identity::agent_keys::{AgentKeys, ConfiguredKey, KeyFile, KeyFileError, KeyInfo, Scopes};
use parking_lot::{Mutex, RwLock};
use tokio::time::{MissedTickBehavior, interval};
use transport::CloseMode;

use crate::{
    audit::{AuditLog, Event},
    peers::Pass,
    routing::Router,
};

/// How often to check whether the file has changed and which keys have expired.
const TICK: Duration = Duration::from_secs(1);
/// How many ticks pass before the times of use are saved again.
const TICKS_PER_SAVING: u32 = 60;
/// How long to remember that a key has ended. Longer than the time from a handshake to the
/// registration.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Identifies one version of the file: its inode and its time of writing.
type Stamp = (u64, i64, i64);

/// The keys in force.
pub struct Keys {
    keys: AgentKeys,
    file: KeyFile,
    /// The version that was last read. Locked while the file is read, so that no older content
    /// replaces a newer one.
    read: Mutex<Option<Stamp>>,
    /// Keys that ended or changed a moment ago, for connections that were being opened then.
    closed: Mutex<HashMap<String, (Instant, CloseCode)>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Keys").field("file", &self.file.path()).finish_non_exhaustive()
    }
}

impl Keys {
    /// The keys of the configuration, which reach everything, and those of the file in the data
    /// folder.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn open(settings: &Settings) -> Result<Self, KeyFileError> {
        let file = KeyFile::in_folder(&settings.data.dir);
        let configured = settings.broker.agent_keys.iter().map(|named| ConfiguredKey {
            name: named.name.clone(),
            key: named.key.clone(),
            scopes: Scopes::everything(),
        });
        let read = Mutex::new(stamp(&file));
        let keys = AgentKeys::open(file.clone(), &configured.collect::<Vec<_>>())?;
        Ok(Self { keys, file, read, closed: Mutex::default() })
    }

    /// Checks a presented key. Returns what it allows an agent with this id, as far as the id is
    /// known.
    ///
    /// # Errors
    /// `unauthorized`, `agent_key_revoked`, `agent_key_expired`; `not_allowed` if the key is not
    /// valid for this id.
    pub fn admit(&self, presented: Option<&str>, wanted: Option<&AgentId>) -> Result<Pass, ClientError> {
        let checked_at = Instant::now();
        let grant = match self.keys.verify(presented.unwrap_or_default(), SystemTime::now()) {
            Err(_) if presented == Some(RETIRED_DEV_AGENT_KEY) => {
                let hint = format!("`{RETIRED_DEV_AGENT_KEY}` is no key any more: the development key is `{DEV_AGENT_KEY}` now");
                return Err(ClientError::with_message(ErrorCode::Unauthorized, hint));
            }
            checked => checked?,
        };
        let pass = Pass::new(grant, checked_at);
        if let Some(wanted) = wanted {
            pass.check_id(wanted)?;
        }
        Ok(pass)
    }

    /// Whether the key of this name is valid and has exactly these `bounds` (its scopes; `None` for
    /// a key without limits).
    pub fn reaches_just(&self, name: &str, bounds: Option<&Scopes>) -> bool {
        let scopes = self.keys.scopes_of(name, SystemTime::now());
        scopes.is_some_and(|scopes| (!scopes.reach_everything()).then_some(&scopes) == bounds)
    }

    /// The code for closing a connection whose key ended or changed after it was checked.
    pub fn closed_since(&self, pass: &Pass) -> Option<CloseCode> {
        let closed = self.closed.lock();
        closed.get(pass.name()).filter(|(at, _)| *at >= pass.checked_at()).map(|(_, code)| *code)
    }

    /// Stores when keys were last used. Blocks on the disk.
    pub fn save_uses(&self) {
        if let Err(error) = self.keys.save_uses() {
            tracing::warn!(%error, "the times of use of agent keys could not be saved");
        }
    }

    fn has_changed(&self) -> bool {
        *self.read.lock() != stamp(&self.file)
    }

    /// The keys of the file, with their last use. Blocks on the disk.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn list(&self, now: SystemTime) -> Result<Vec<KeyInfo>, KeyFileError> {
        self.save_uses();
        self.file.list(now)
    }

    /// Reads the file of agent keys again, and closes the connections of keys that ended. Blocks on
    /// the disk.
    ///
    /// # Errors
    /// See [`KeyFileError`]; the keys in force then stay in force.
    pub fn reload(&self, router: &RwLock<Router>, audit: &AuditLog) -> Result<(), KeyFileError> {
        let Self { keys, file, read, closed } = self;
        let mut read = read.lock();
        *read = stamp(file);
        let changes = keys.reload(SystemTime::now())?;
        if changes == identity::agent_keys::Changes::default() {
            return Ok(());
        }
        for (names, what) in [(&changes.added, "is new"), (&changes.ended, "has ended"), (&changes.changed, "has changed")] {
            names.iter().for_each(|name| audit.note(Event::Admin, "bridge", &format!("agent key {name} {what}"), ""));
        }
        tracing::info!(added = ?changes.added, ended = ?changes.ended, changed = ?changes.changed, "agent keys reloaded");
        let now = Instant::now();
        {
            let mut closed = closed.lock();
            closed.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
            closed.extend(changes.ended.iter().map(|name| (name.clone(), (now, CloseCode::SESSION_ENDED))));
            closed.extend(changes.changed.iter().map(|name| (name.clone(), (now, CloseCode::SERVICE_RESTART))));
        }
        // Whoever registers from now on is checked again, so nobody is remembered with older scopes
        // after this.
        router.write().forget_seen_agents(|key| changes.to_close().any(|name| name == key));
        close_agents(&router.read(), |pass| self.closed_since(pass));
        Ok(())
    }

    /// Checks the keys regularly, as long as the broker runs.
    pub async fn keep(self: Arc<Self>, router: Arc<RwLock<Router>>, audit: Arc<AuditLog>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for tick in (0..TICKS_PER_SAVING).cycle() {
            ticks.tick().await;
            let now = SystemTime::now();
            close_agents(&router.read(), |pass| pass.has_expired(now).then_some(CloseCode::CREDENTIALS_EXPIRED));
            let (keys, router, audit) = (Arc::clone(&self), Arc::clone(&router), Arc::clone(&audit));
            let looking = tokio::task::spawn_blocking(move || {
                if keys.has_changed()
                    && let Err(error) = keys.reload(&router, &audit)
                {
                    tracing::error!(%error, "the agent keys could not be read again; those in force stay");
                }
                if tick + 1 == TICKS_PER_SAVING {
                    keys.save_uses();
                }
            });
            if looking.await.is_err() {
                tracing::error!("the task that watches the agent keys failed");
            }
        }
    }
}

/// Closes the agents for whose key `end` returns a code.
fn close_agents(router: &Router, end: impl Fn(&Pass) -> Option<CloseCode>) {
    for (peer, pass) in router.agent_peers().chain(router.waiting_agents()).filter_map(|peer| Some((peer, peer.pass.as_ref()?))) {
        if let Some(code) = end(pass) {
            tracing::info!(
                agent = peer.address(),
                key = pass.name(),
                code = code.0,
                "closed: its key has expired or was revoked or changed"
            );
            // Messages that the agent has sent and the router has not processed yet are dropped.
            peer.cut();
            peer.link.close(code, reason(code), CloseMode::Discard);
        }
    }
}

/// The reason for the peer, beside the code.
pub fn reason(code: CloseCode) -> &'static str {
    match code {
        CloseCode::SERVICE_RESTART => "what the agent key reaches has changed, come back",
        CloseCode::CREDENTIALS_EXPIRED => "the agent key has expired",
        _ => "the agent key is good no longer",
    }
}

fn stamp(file: &KeyFile) -> Option<Stamp> {
    let metadata = fs::metadata(file.path()).ok()?;
    Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}
