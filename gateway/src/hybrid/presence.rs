//! The sockets of this process, by user. Not a truth of its own: it is empty after a restart, and
//! sockets at other edges are not in it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use common::id::UserId;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::frames::Mode;

/// One socket.
#[derive(Clone, Debug)]
pub struct Here {
    /// Its id.
    pub id: String,
    /// Its mode.
    pub mode: Mode,
    /// Since when, in RFC 3339.
    pub since: String,
    /// Its client has left, and what its mode has read is being stored.
    pub is_leaving: bool,
}

/// See the module. Shared by all threads.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    table: Arc<Mutex<HashMap<UserId, Vec<Here>>>>,
    /// Told when a socket is gone.
    gone: Arc<Notify>,
}

/// A socket's entry. Dropping it removes it.
#[derive(Debug)]
pub struct Entry {
    presence: Presence,
    user: UserId,
    id: String,
}

impl Presence {
    /// Enters a socket. Returns its entry, and all sockets of the user with it.
    pub fn enter(&self, user: &UserId, here: Here) -> (Entry, Vec<Here>) {
        let entry = Entry { presence: self.clone(), user: user.clone(), id: here.id.clone() };
        self.table.lock().entry(user.clone()).or_default().push(here);
        (entry, self.of(user))
    }

    /// The sockets of a user.
    pub fn of(&self, user: &UserId) -> Vec<Here> {
        let table = self.table.lock();
        table.get(user).into_iter().flatten().filter(|here| !here.is_leaving).cloned().collect()
    }

    /// Waits until no socket of a user and mode is leaving: then it is stored what the mode has
    /// read.
    pub async fn settled(&self, user: &UserId, mode: Mode) {
        loop {
            let gone = self.gone.notified();
            let is_leaving = |here: &Here| here.mode == mode && here.is_leaving;
            if !self.table.lock().get(user).is_some_and(|all| all.iter().any(is_leaving)) {
                return;
            }
            gone.await;
        }
    }

    /// The statistics, as clients read them.
    pub fn stats(&self) -> Value {
        let table = self.table.lock();
        let mut modes = BTreeMap::<&str, usize>::new();
        for here in table.values().flatten() {
            *modes.entry(here.mode.as_str()).or_default() += 1;
        }
        json!({
            "total_users": table.len(),
            "total_connections": table.values().map(Vec::len).sum::<usize>(),
            "connections_by_mode": modes,
            "active_sessions": table.len(),
        })
    }
}

impl Entry {
    /// The client has left.
    pub fn leave(&self) {
        let mut table = self.presence.table.lock();
        let own = table.get_mut(&self.user).into_iter().flatten().find(|here| here.id == self.id);
        if let Some(here) = own {
            here.is_leaving = true;
        }
    }

    /// Whether the user has another socket in this mode.
    pub fn has_other(&self, mode: Mode) -> bool {
        self.presence.of(&self.user).iter().any(|here| here.mode == mode && here.id != self.id)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut table = self.presence.table.lock();
        if let Some(all) = table.get_mut(&self.user) {
            all.retain(|here| here.id != self.id);
            if all.is_empty() {
                table.remove(&self.user);
            }
        }
        drop(table);
        self.presence.gone.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn sockets_are_counted_until_they_leave() {
        let presence = Presence::default();
        let ann = UserId::new("ann").expect("a name");
        let here = |id: &str, mode| Here { id: id.into(), mode, since: "now".into(), is_leaving: false };
        let (first, _) = presence.enter(&ann, here("1", Mode::Web));
        let (second, all) = presence.enter(&ann, here("2", Mode::Web));
        assert_eq!(all.len(), 2);
        assert!(second.has_other(Mode::Web) && !second.has_other(Mode::Local));
        assert_eq!(presence.stats()["connections_by_mode"], json!({"web": 2}));
        first.leave();
        assert!(!second.has_other(Mode::Web));
        let settled = |presence: &Presence| presence.settled(&ann, Mode::Web).now_or_never().is_some();
        assert!(!settled(&presence));
        drop(first);
        assert!(settled(&presence));
        drop(second);
        assert_eq!(presence.stats()["total_users"], 0);
    }
}
