//! Receivers that must be told how many of their messages became dead letters.
//!
//! A receiver is told when it next connects. The store knows for each inbox how many messages
//! became dead letters, and how many of those were told. The inbox of a forgotten session leaves
//! the store. What became dead letters with it is known here, and after a restart by its
//! dead-letter channel, as long as that keeps messages.

use std::hash::RandomState;

use foldhash::HashMap;
use hashlink::LinkedHashMap;
use store::{ChannelFamily, ChannelInfo, ChannelName, Standing};

/// The most inboxes with dead letters; receivers beyond are not told. Inboxes of sessions may use
/// half of them, those of users three quarters: a stranger can begin any number of sessions.
const MOST_INBOXES: usize = 100_000;
/// The same for forgotten sessions; with more, the one that was forgotten first is not told.
const MOST_FORGOTTEN: usize = 100_000;

/// How many messages a receiver has lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Died {
    /// How many. For the inbox of a forgotten session, after a restart: those that are still among
    /// the dead letters.
    pub count: u64,
    /// Whether the number is exact.
    pub is_exact: bool,
}

/// What became dead letters with the inbox of a forgotten session.
#[derive(Clone, Copy, Debug)]
pub(super) struct WithInbox {
    pub(super) died: Died,
    /// When that happened, in milliseconds since 1970.
    pub(super) at: u64,
}

/// See the module. Pure.
#[derive(Debug, Default)]
pub(super) struct Untold {
    inboxes: HashMap<ChannelName, u64>,
    /// In the order in which they were forgotten.
    forgotten: LinkedHashMap<ChannelName, WithInbox, RandomState>,
}

impl Untold {
    /// So many messages of an inbox became dead letters.
    pub(super) fn note(&mut self, inbox: &ChannelName, count: u64) {
        if let Some(known) = self.inboxes.get_mut(inbox) {
            *known += count;
        } else if count > 0 && (self.inboxes.len() as u64) < most_with(inbox) {
            self.inboxes.insert(inbox.clone(), count);
        }
    }

    /// An inbox was forgotten, with its session.
    pub(super) fn forget(&mut self, inbox: &ChannelName, now: u64) {
        if let Some(count) = self.inboxes.remove(inbox) {
            self.note_forgotten(inbox.clone(), Died { count, is_exact: true }, now);
        }
    }

    pub(super) fn note_forgotten(&mut self, inbox: ChannelName, died: Died, at: u64) {
        let before = self.forgotten.remove(&inbox);
        let died = before.map_or(died, |before| before.died.and(died));
        self.forgotten.insert(inbox, WithInbox { died, at });
        if self.forgotten.len() > MOST_FORGOTTEN {
            self.forgotten.pop_front();
        }
    }

    /// Removes what became dead letters with sessions before a time: it has left the dead letters
    /// too.
    pub(super) fn expire(&mut self, before: u64) {
        while self.forgotten.front().is_some_and(|(_, with)| with.at <= before) {
            self.forgotten.pop_front();
        }
    }

    /// What the store says about a channel when it is opened; the channels come in the order of
    /// their names. `told`: what was recorded for the channel when its receiver was told.
    pub(super) fn restore(&mut self, info: &ChannelInfo, told: u64) {
        if info.channel.family().is_inbox() {
            self.note(&info.channel, info.dead_lettered.saturating_sub(told));
            // What belongs to this inbox does not belong to a forgotten one.
            if let Some(with) = self.forgotten.get_mut(&info.channel) {
                with.died.count = with.died.count.saturating_sub(info.dead_lettered);
                if with.died.count == 0 {
                    self.forgotten.remove(&info.channel);
                }
            }
            return;
        }
        let inbox = info.channel.as_str().strip_prefix("dead:").and_then(|name| ChannelName::parse(name).ok());
        let inbox = inbox.filter(|inbox| inbox.family() == ChannelFamily::Session);
        if let Some(inbox) = inbox.filter(|_| info.records > 0 && info.head > told) {
            self.note_forgotten(inbox, Died { count: info.records, is_exact: false }, info.last_stored_at);
        }
    }

    /// The receiver of an inbox is told: the dead letters of the present inbox, and those of an
    /// earlier one.
    pub(super) fn take(&mut self, inbox: &ChannelName) -> (u64, Option<WithInbox>) {
        (self.inboxes.remove(inbox).unwrap_or(0), self.forgotten.remove(inbox))
    }

    pub(super) fn has(&self, inbox: &ChannelName) -> bool {
        self.inboxes.contains_key(inbox) || self.forgotten.contains_key(inbox)
    }

    /// How many messages of a connected receiver's inbox became dead letters.
    pub(super) fn of_inbox(&self, inbox: &ChannelName) -> u64 {
        self.inboxes.get(inbox).copied().unwrap_or(0)
    }

    pub(super) fn len(&self) -> usize {
        self.inboxes.len() + self.forgotten.len()
    }
}

/// How many inboxes there may be for another one of this family.
fn most_with(inbox: &ChannelName) -> u64 {
    let standing = match inbox.family() {
        ChannelFamily::Session => Standing::Anonymous,
        ChannelFamily::User => Standing::User,
        _ => Standing::Agent,
    };
    standing.part_of(MOST_INBOXES as u64)
}

impl Died {
    pub(super) fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, is_exact: self.is_exact && other.is_exact }
    }
}

#[cfg(test)]
mod tests {
    use common::id::SessionId;

    use super::*;

    fn info(channel: &ChannelName, head: u64, records: u64, dead_lettered: u64) -> ChannelInfo {
        ChannelInfo {
            channel: channel.clone(),
            head,
            last_stored_at: 7,
            oldest_at: None,
            records,
            bytes: 0,
            unacked: 0,
            unacked_bytes: 0,
            appended: records,
            trimmed: 0,
            dead_lettered,
        }
    }

    #[test]
    fn dead_letters_of_a_forgotten_session_are_reported_until_they_are_too_old() {
        let (mut untold, inbox) = (Untold::default(), ChannelName::session(SessionId::fresh()));
        untold.note(&inbox, 2);
        untold.forget(&inbox, 100);
        untold.note(&inbox, 3);
        assert!(untold.has(&inbox));
        let (count, with) = untold.take(&inbox);
        assert_eq!((count, with.map(|with| with.died)), (3, Some(Died { count: 2, is_exact: true })));
        assert_eq!((untold.has(&inbox), untold.len()), (false, 0));
        untold.note(&inbox, 1);
        untold.forget(&inbox, 100);
        untold.expire(99);
        assert!(untold.has(&inbox));
        untold.expire(100);
        assert!(!untold.has(&inbox));
    }

    #[test]
    fn the_dead_letters_say_after_a_restart_what_died_with_a_session() {
        let session = ChannelName::session(SessionId::fresh());
        let taken = |channels: &[(ChannelInfo, u64)]| {
            let mut untold = Untold::default();
            channels.iter().for_each(|(info, told)| untold.restore(info, *told));
            let (count, with) = untold.take(&session);
            (count, with.map_or(0, |with| with.died.count))
        };
        let dead = |records| info(&session.dead(), 9, records, 0);
        assert_eq!(taken(&[(dead(3), 0)]), (0, 3), "it was forgotten");
        assert_eq!(taken(&[(dead(3), 9)]), (0, 0), "it was told");
        assert_eq!(taken(&[(dead(0), 0)]), (0, 0), "they are gone");
        assert_eq!(taken(&[(dead(3), 0), (info(&session, 5, 4, 3), 1)]), (2, 0), "it was never forgotten");
        assert_eq!(taken(&[(dead(3), 0), (info(&session, 5, 4, 1), 0)]), (1, 2), "it was, and has an inbox again");
    }

    #[test]
    fn sessions_leave_places_to_users_and_agents() {
        let mut untold = Untold::default();
        let mut note = |name: &str| {
            let inbox = ChannelName::parse(name).expect("a channel");
            untold.note(&inbox, 1);
            untold.has(&inbox)
        };
        let of_sessions = (0..MOST_INBOXES).filter(|_| note(ChannelName::session(SessionId::fresh()).as_str())).count();
        let of_users = (0..MOST_INBOXES).filter(|number| note(&format!("user:u{number}"))).count();
        let of_agents = (0..MOST_INBOXES).filter(|number| note(&format!("agent:a{number}"))).count();
        assert_eq!([of_sessions, of_users, of_agents], [MOST_INBOXES / 2, MOST_INBOXES / 4, MOST_INBOXES / 4]);
    }

    #[test]
    fn the_sessions_forgotten_first_are_removed_first() {
        let mut untold = Untold::default();
        let first = ChannelName::session(SessionId::fresh());
        untold.note(&first, 1);
        untold.forget(&first, 0);
        for at in 0..MOST_FORGOTTEN as u64 {
            let inbox = ChannelName::session(SessionId::fresh());
            untold.note(&inbox, 1);
            untold.forget(&inbox, at);
        }
        assert_eq!((untold.len(), untold.has(&first)), (MOST_FORGOTTEN, false));
    }
}
