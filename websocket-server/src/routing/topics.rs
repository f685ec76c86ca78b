//! One topic: its subscribers and its presence.

use std::sync::Arc;

use foldhash::HashMap;
use transport::Reservation;

use crate::{
    holders::Table,
    peers::{ConnectionId, Peer},
};

#[derive(Debug)]
struct Subscriber {
    peer: Arc<Peer>,
    watches: bool,
}

/// The subscribers of a topic.
#[derive(Debug, Default)]
pub struct Topic {
    subscribers: Vec<Subscriber>,
    positions: HashMap<ConnectionId, usize>,
    /// Connections per address: a session with two tabs is one member.
    members: HashMap<String, u32>,
    watchers: usize,
    /// The topic's place among all topics, and the subscriber that it counts for.
    place: Option<(ConnectionId, Reservation)>,
}

impl Topic {
    /// An empty topic that counts for this connection, which is about to subscribe.
    pub fn paid_by(id: ConnectionId, place: Reservation) -> Self {
        Self { place: Some((id, place)), ..Self::default() }
    }

    /// Adds a subscriber, or changes whether it gets presence. Returns whether its address is new
    /// among the members.
    pub fn subscribe(&mut self, peer: &Arc<Peer>, watches: bool) -> bool {
        if let Some(subscriber) = self.positions.get(&peer.id).and_then(|at| self.subscribers.get_mut(*at)) {
            self.watchers -= usize::from(subscriber.watches);
            self.watchers += usize::from(watches);
            subscriber.watches = watches;
            return false;
        }
        self.positions.insert(peer.id, self.subscribers.len());
        self.subscribers.push(Subscriber { peer: Arc::clone(peer), watches });
        self.watchers += usize::from(watches);
        let connections = self.members.entry(peer.address().to_owned()).or_default();
        *connections += 1;
        *connections == 1
    }

    /// Removes a subscriber. Returns it if its address is no longer among the members.
    pub fn unsubscribe(&mut self, peer: &Peer) -> Option<Arc<Peer>> {
        let at = self.positions.remove(&peer.id)?;
        let removed = self.subscribers.swap_remove(at);
        if let Some(moved) = self.subscribers.get(at) {
            self.positions.insert(moved.peer.id, at);
        }
        self.watchers -= usize::from(removed.watches);
        if self.place.as_ref().is_some_and(|(payer, _)| *payer == peer.id) {
            // It counts for a remaining subscriber, even if that exceeds its share. Otherwise it
            // would count for nobody.
            let heir = self.subscribers.first().map(|heir| &heir.peer);
            self.place = heir.and_then(|heir| Some((heir.id, heir.payers.take_anyway(Table::Topics as u8, 1)?)));
        }
        let connections = self.members.get_mut(peer.address())?;
        *connections -= 1;
        if *connections > 0 {
            return None;
        }
        self.members.remove(peer.address());
        Some(removed.peer)
    }

    /// Whether a connection of this address subscribes.
    pub fn has_member(&self, address: &str) -> bool {
        self.members.contains_key(address)
    }

    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Whether this connection subscribes.
    pub fn has(&self, id: ConnectionId) -> bool {
        self.positions.contains_key(&id)
    }

    /// Whether this connection gets presence.
    pub fn watches(&self, id: ConnectionId) -> bool {
        self.positions.get(&id).and_then(|at| self.subscribers.get(*at)).is_some_and(|subscriber| subscriber.watches)
    }

    /// Every subscribed connection.
    pub fn subscribers(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.subscribers.iter().map(|subscriber| &subscriber.peer)
    }

    /// The addresses that subscribe: how many, and at most `limit` of them.
    pub fn members(&self, limit: usize) -> (usize, Vec<String>) {
        (self.members.len(), self.members.keys().take(limit).cloned().collect())
    }

    /// Whether anybody gets presence.
    pub fn is_watched(&self) -> bool {
        self.watchers > 0
    }

    /// The subscribers with presence.
    pub fn watchers(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.subscribers.iter().filter(|subscriber| subscriber.watches).map(|subscriber| &subscriber.peer)
    }
}
