//! Which positions give way when the clients behind one address have too many, or those of one
//! source. Pure.
//!
//! A client can come back under any number of names, and leaves positions behind under each. So
//! their number is bounded for all names of an address (a session or an agent) together. The client
//! that was not heard of for the longest time gives way first, with all its positions.
//!
//! A stranger can begin any number of sessions. So the number is bounded for all addresses of one
//! *source* too: a network address of anonymous sessions, a user, an agent key. There the address
//! that was not heard of for the longest time gives way.

use std::collections::BTreeMap;

use crate::session::ConsumerId;

/// What one consumer has stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reader {
    pub(crate) consumer: ConsumerId,
    pub(crate) positions: u64,
    /// When one of its positions was last saved.
    pub(crate) saved_at: u64,
}

/// What is to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Surplus {
    /// All positions of these.
    pub(crate) consumers: Vec<ConsumerId>,
    /// So many of the client that is saving, the oldest first.
    pub(crate) of_saver: u64,
}

impl Surplus {
    /// What `saver` and the other consumers behind its address must give up, if they have more than
    /// `most` positions. A quarter of the bound becomes free, so that the search is not repeated
    /// with every further position.
    pub(crate) fn of(most: u64, saver: &ConsumerId, readers: Vec<Reader>) -> Self {
        let total: u64 = readers.iter().map(|reader| reader.positions).sum();
        let mut surplus = Self::default();
        if total <= most {
            return surplus;
        }
        let mut excess = total.saturating_sub(most - most / 4);
        let client_of = |consumer: &ConsumerId| consumer.client().map(|(_, client)| client.to_owned());
        let own = client_of(saver);
        // A client has up to two consumers.
        let mut clients: BTreeMap<Option<String>, (u64, Vec<Reader>)> = BTreeMap::new();
        for reader in readers {
            let client = client_of(&reader.consumer);
            if client != own {
                let (saved_at, consumers) = clients.entry(client).or_default();
                *saved_at = (*saved_at).max(reader.saved_at);
                consumers.push(reader);
            }
        }
        let mut clients: Vec<_> = clients.into_values().collect();
        clients.sort_by_key(|(saved_at, _)| *saved_at);
        for (_, readers) in clients {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(readers.iter().map(|reader| reader.positions).sum());
            surplus.consumers.extend(readers.into_iter().map(|reader| reader.consumer));
        }
        surplus.of_saver = excess;
        surplus
    }
}

/// What the clients behind one address have stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: String,
    pub(crate) positions: u64,
    /// When one of them was last saved.
    pub(crate) saved_at: u64,
}

/// The addresses whose clients lose all positions, if those of one source have more than `most`. A
/// quarter of the bound becomes free. `own`: the address that is saving. It is not among them,
/// because it has a bound of its own.
pub(crate) fn addresses_giving_way(most: u64, own: &str, mut places: Vec<Place>) -> Vec<String> {
    let total: u64 = places.iter().map(|place| place.positions).sum();
    if total <= most {
        return Vec::new();
    }
    let mut excess = total - (most - most / 4);
    places.retain(|place| place.address != own);
    places.sort_by(|one, other| (one.saved_at, &one.address).cmp(&(other.saved_at, &other.address)));
    let has_to_go = |place: &Place| {
        let goes = excess > 0;
        excess = excess.saturating_sub(place.positions);
        goes
    };
    places.into_iter().take_while(has_to_go).map(|place| place.address).collect()
}

#[cfg(test)]
mod tests {
    use common::id::ClientName;

    use super::*;

    fn reader(client: &str, presence: bool, positions: u64, saved_at: u64) -> Reader {
        let client = ClientName::new(client).expect("a name");
        Reader { consumer: ConsumerId::of_client("session:s", &client, presence), positions, saved_at }
    }

    #[test]
    fn the_client_not_heard_of_for_longest_gives_way_with_all_it_has() {
        let readers =
            vec![reader("a", false, 3, 5), reader("a", true, 2, 90), reader("b", false, 3, 10), reader("c", false, 1, 100)];
        let saver = reader("c", false, 1, 100).consumer;
        assert_eq!(Surplus::of(9, &saver, readers.clone()), Surplus::default());
        let surplus = Surplus::of(8, &saver, readers.clone());
        assert_eq!(surplus, Surplus { consumers: vec![readers[2].consumer.clone()], of_saver: 0 });
        // It was the last to be heard of, and has too many by itself.
        let surplus = Surplus::of(2, &readers[1].consumer, readers.clone());
        assert_eq!(surplus.consumers, [readers[2].consumer.clone(), readers[3].consumer.clone()]);
        assert_eq!(surplus.of_saver, 3);
    }

    #[test]
    fn of_the_addresses_of_one_source_the_one_not_heard_of_for_longest_gives_way() {
        let place = |address: &str, positions, saved_at| Place { address: address.to_owned(), positions, saved_at };
        let places =
            vec![place("session:a", 3, 50), place("session:b", 3, 10), place("session:c", 2, 20), place("session:d", 1, 5)];
        assert_eq!(addresses_giving_way(9, "session:d", places.clone()), [] as [&str; 0]);
        assert_eq!(addresses_giving_way(8, "session:d", places.clone()), ["session:b"]);
        assert_eq!(addresses_giving_way(4, "session:d", places.clone()), ["session:b", "session:c", "session:a"]);
        assert_eq!(addresses_giving_way(8, "session:a", places), ["session:d", "session:b"]);
    }
}
