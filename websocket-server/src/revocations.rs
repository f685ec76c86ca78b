//! The revocations of all edges. They are stored here for all edges, in any number, also across
//! restarts, until the credentials would have expired anyway.
//!
//! Checked when an edge vouches for a client, and again when that client is registered. Edges
//! exchange revocations by `POST /api/v1/revocations`.

use std::{fmt, io, path::Path, sync::Arc, time::SystemTime};

use common::{
    address::Address,
    assertion::ClientIdentity,
    close::CloseCode,
    error::{ClientError, ErrorCode},
    id::SessionId,
};
use identity::revocations::{
    CAPACITY, Exchange, Exchanged, MOST_EXCHANGED, Revocation, RevocationPage, RevocationStore, Revocations, Revoked, Standing,
};
use parking_lot::RwLock;
use transport::CloseMode;

use crate::{peers::PeerKind, routing::Router};

/// The file in the data folder.
const FILE: &str = "broker-revocations.db";

/// See the module.
pub struct SharedRevocations {
    /// Distinguishes numbers of this process from those of an earlier one.
    life: String,
    table: RwLock<Revocations>,
    store: Arc<RevocationStore>,
}

impl fmt::Debug for SharedRevocations {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SharedRevocations").field("life", &self.life).finish_non_exhaustive()
    }
}

impl SharedRevocations {
    /// Opens the revocations stored in this folder.
    ///
    /// # Errors
    /// They cannot be read. Without them, ended sessions would be valid again.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let store = Arc::new(RevocationStore::open(folder.join(FILE))?);
        let table = RwLock::new(Revocations::open(CAPACITY, Arc::clone(&store))?);
        Ok(Self { life: uuid::Uuid::new_v4().simple().to_string(), table, store })
    }

    /// Checks that the credentials for which an edge vouches are still valid.
    ///
    /// # Errors
    /// `session_ended`; `credentials_expired` if the session has later credentials; `not_ready` if
    /// that cannot be read.
    pub fn check(&self, identity: &ClientIdentity) -> Result<(), ErrorCode> {
        self.table.read().check(&Standing::of(identity)).map_err(|revoked| match revoked {
            Revoked::Ended => ErrorCode::SessionEnded,
            Revoked::Superseded => ErrorCode::CredentialsExpired,
            Revoked::Unknown => ErrorCode::NotReady,
        })
    }

    /// Takes over the revocations of an edge, and returns those that were new.
    fn learn(&self, mut revocations: Vec<Revocation>, now: SystemTime) -> Vec<Revocation> {
        let mut table = self.table.write();
        revocations.retain(|revocation| table.load(*revocation, now));
        revocations
    }

    /// Blocks on the disk.
    fn write_down(&self) -> io::Result<()> {
        self.store.write_changes(&self.table)
    }

    /// Takes over the revocations of an edge. They are in force at once, also for open sockets, and
    /// on the disk when this is ready. If the disk does not accept them, nobody is admitted all the
    /// same. Returns what the edge does not know yet.
    ///
    /// # Errors
    /// `bad_request`: more than allowed at once.
    pub async fn exchange(self: &Arc<Self>, ask: Exchange, router: &RwLock<Router>) -> Result<Exchanged, ClientError> {
        let Exchange { life, after, revocations } = ask;
        if revocations.len() > MOST_EXCHANGED {
            return Err(ClientError::with_message(ErrorCode::BadRequest, format!("more than {MOST_EXCHANGED} revocations")));
        }
        let news = self.learn(revocations, SystemTime::now());
        news.iter().filter_map(Revocation::ended).for_each(|(session, least)| close_session(&router.read(), session, least));
        if !news.is_empty() {
            let shared = Arc::clone(self);
            match tokio::task::spawn_blocking(move || shared.write_down()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, "a revocation could not be stored: it may not outlive this process");
                }
                Err(_) => tracing::error!("the task that stores a revocation failed"),
            }
        }
        let after = if life.as_ref() == Some(&self.life) { after } else { 0 };
        let RevocationPage { revocations, upto, more } = self.table.read().since(after, MOST_EXCHANGED);
        Ok(Exchanged { life: self.life.clone(), upto, more, revocations })
    }
}

/// Closes the sockets of a session that was ended, except those with newer credentials.
fn close_session(router: &Router, session: SessionId, least: u64) {
    for peer in router.peers_at(&Address::Session(session)) {
        if matches!(&peer.kind, PeerKind::Session(identity) if identity.generation < least) {
            tracing::info!(session = peer.address(), connection = %peer.id, "closed: its session was ended");
            peer.link.close(CloseCode::SESSION_ENDED, ErrorCode::SessionEnded.row().meaning, CloseMode::Discard);
        }
    }
}
