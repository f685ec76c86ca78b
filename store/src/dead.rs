//! Records that are never acknowledged: why, where they go, and which of them give way. Pure; every
//! backend uses it.

use std::collections::VecDeque;

use foldhash::HashMap;

use crate::{
    channel::ChannelName,
    options::Bounds,
    owner::{Owner, Standing},
    shares::{Member, Shares},
};

/// The longest text stored with a `nack` or a dead letter, in bytes; longer ones are cut.
pub const MAX_REASON: usize = 512;

/// Why a record went to the dead-letter channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// Its `ttl_ms` has passed.
    Expired,
    /// It waited longer than an inbox keeps anything.
    Age,
    /// The inbox was full, and its sender had the most messages there: of these it was the oldest
    /// of the lowest priority.
    InboxFull,
    /// It was delivered as often as allowed.
    MaxDeliveries,
    /// The receiver refused it for good.
    Rejected,
    /// Its session was forgotten.
    ReceiverForgotten,
}

impl DeadReason {
    const ALL: [Self; 6] =
        [Self::Expired, Self::Age, Self::InboxFull, Self::MaxDeliveries, Self::Rejected, Self::ReceiverForgotten];

    /// The permanent code, on the wire and in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Age => "age",
            Self::InboxFull => "inbox_full",
            Self::MaxDeliveries => "max_deliveries",
            Self::Rejected => "rejected",
            Self::ReceiverForgotten => "receiver_forgotten",
        }
    }

    /// The reason with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == code)
    }
}

/// A decision to give a record up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Why.
    pub reason: DeadReason,
    /// Details, in the receiver's words.
    pub detail: Option<String>,
    /// Now, in milliseconds since 1970.
    pub at: u64,
}

impl Death {
    /// Without details.
    pub const fn of(reason: DeadReason, at: u64) -> Self {
        Self { reason, detail: None, at }
    }
}

/// The origin of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadOrigin {
    /// The channel it was in.
    pub channel: ChannelName,
    /// Its number there.
    pub seq: u64,
    /// Why it was moved.
    pub reason: DeadReason,
    /// Details.
    pub detail: Option<String>,
}

/// A record that was moved to a dead-letter channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLettered {
    /// Where it was.
    pub channel: ChannelName,
    /// Its number there.
    pub seq: u64,
    /// The sender's id of the message.
    pub message_id: String,
    /// The sender, which may want to hear of it.
    pub source: String,
    /// Why it was moved.
    pub reason: DeadReason,
    /// Where it is now.
    pub dead_channel: ChannelName,
    /// Its number there.
    pub dead_seq: u64,
}

/// Whose share of its channel a dead letter takes: the standing and the source of its sender, in a
/// form that can be stored. The store forgets owners that have nothing else stored. 0: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeadShare(pub(crate) u64);

impl DeadShare {
    /// Above all numbers of owners, so that it is never taken for one.
    const MARK: u64 = 1 << 48;

    pub(crate) fn of(owner: Option<&Owner>) -> Self {
        owner.map_or(Self(0), |owner| {
            let source = owner.key.source();
            let digest = crc32fast::hash(format!("{} {}", source.0.as_str(), source.1).as_bytes());
            Self(Self::MARK | ((owner.key.standing.index() as u64) << 32) | u64::from(digest))
        })
    }

    /// The sender as the channel's division sees it.
    fn member(self, sender: &str) -> Member {
        let is_session = sender.starts_with("session:");
        let standing = match self.0 {
            0 if is_session => Standing::Anonymous,
            0 => Standing::Agent,
            tag => Standing::ALL.get(((tag >> 32) & 0xff) as usize).copied().unwrap_or(Standing::Agent),
        };
        let source = u64::from(self.0 as u32);
        Member { standing, source, owner: (source << 32) | u64::from(crc32fast::hash(sender.as_bytes())) }
    }
}

/// One record of a dead-letter channel.
#[derive(Clone, Debug)]
pub(crate) struct Letter<S> {
    pub(crate) seq: u64,
    pub(crate) bytes: u64,
    /// The sender's address.
    pub(crate) sender: S,
    pub(crate) share: DeadShare,
}

/// The numbers of the dead letters that must go, in rising order, if a channel has more than its
/// bounds of number and bytes. `letters`: all that it has, in the order of their numbers.
///
/// A channel is divided as an inbox is ([`crate::shares`]): the largest sender loses its oldest
/// one. So nobody's dead letters push out those of a sender with fewer. Looking costs more than
/// removing one, so an eighth of the bound is made free at once.
pub(crate) fn giving_way<S: AsRef<str>>(letters: impl IntoIterator<Item = Letter<S>>, bounds: Bounds) -> Vec<u64> {
    let mut shares = Shares::default();
    let mut of: HashMap<u64, (Member, VecDeque<(u64, u64)>)> = HashMap::default();
    let (mut records, mut bytes) = (0, 0);
    for letter in letters {
        let member = letter.share.member(letter.sender.as_ref());
        shares.add(member, letter.bytes);
        of.entry(member.owner).or_insert_with(|| (member, VecDeque::new())).1.push_back((letter.seq, letter.bytes));
        records += 1;
        bytes += letter.bytes;
    }
    let mut going = Vec::new();
    if !bounds.exceeded_by(records, bytes) {
        return going;
    }
    let low = Bounds { records: bounds.records - bounds.records / 8, bytes: bounds.bytes - bounds.bytes / 8, age_ms: 0 };
    while low.exceeded_by(records, bytes)
        && let Some((member, letters)) = shares.victim(low).and_then(|owner| of.get_mut(&owner))
        && let Some((seq, size)) = letters.pop_front()
    {
        shares.remove(*member, size);
        records -= 1;
        bytes -= size;
        going.push(seq);
    }
    going.sort_unstable();
    going
}

/// Cuts a text to [`MAX_REASON`] bytes, at a character boundary.
pub(crate) fn cut_reason(text: &str) -> String {
    let end = (0..=MAX_REASON.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ledger::Ledger, options::StoreOptions, owner::OwnerKey};

    fn share(address: &str) -> DeadShare {
        let key = OwnerKey {
            standing: Standing::Anonymous,
            sender: "session:any".to_owned(),
            user: None,
            address: Some(address.to_owned()),
            key: None,
        };
        DeadShare::of(Some(&Ledger::new(&StoreOptions::default()).owner(&key)))
    }

    fn letters(of: &[(&str, DeadShare)]) -> Vec<Letter<String>> {
        let letter = |(at, (sender, share)): (usize, &(&str, DeadShare))| Letter {
            seq: at as u64 + 1,
            bytes: 10,
            sender: (*sender).to_owned(),
            share: *share,
        };
        of.iter().enumerate().map(letter).collect()
    }

    #[test]
    fn the_largest_sender_loses_its_oldest_and_a_part_of_the_bound_is_made_free() {
        let (one, two) = (share("192.0.2.1"), share("192.0.2.2"));
        let mut of = vec![("session:a", one); 3];
        of.extend([("session:b", two); 14]);
        let bounds = |records, bytes| Bounds { records, bytes, age_ms: 0 };
        assert_eq!(giving_way(letters(&of), bounds(17, 0)), [] as [u64; 0]);
        assert_eq!(giving_way(letters(&of), bounds(16, 0)), [4, 5, 6]);
        assert_eq!(giving_way(letters(&of), bounds(0, 160)), [4, 5, 6]);
        assert_eq!(giving_way(letters(&of), bounds(0, 0)), [] as [u64; 0]);
    }

    #[test]
    fn many_sessions_of_one_address_are_one_sender_and_so_are_those_of_older_files() {
        let flood = share("198.51.100.1");
        let names: Vec<String> = (0..20).map(|number| format!("session:{number}")).collect();
        let mut of = vec![("session:honest", share("192.0.2.1")); 4];
        of.extend(names.iter().map(|name| (name.as_str(), flood)));
        let going = giving_way(letters(&of), Bounds { records: 10, bytes: 0, age_ms: 0 });
        assert_eq!((going.len(), going.first()), (15, Some(&5)));
        let mut of = vec![("agent:honest", DeadShare(0)); 4];
        of.extend(names.iter().map(|name| (name.as_str(), DeadShare(0))));
        assert_eq!(giving_way(letters(&of), Bounds { records: 10, bytes: 0, age_ms: 0 }).first(), Some(&5));
    }
}
