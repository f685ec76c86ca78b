//! The audit log: who did what, when, from where. Append-only; without payloads, unless its writer
//! includes them.
//!
//! The log has a bound. Above it the kind with most entries gives way, and of that kind the address
//! with most, with its oldest ([`giving_way`]). So a flood of connections removes no logins and no
//! acts of operators, and no address removes what others did. Pure; every backend uses it.

use std::{collections::BTreeMap, net::IpAddr};

use common::{
    audit::{Entry, Event},
    network::customer,
};

use crate::error::StoreError;

pub(crate) fn check(entry: &Entry) -> Result<(), StoreError> {
    if entry.fits() { Ok(()) } else { Err(StoreError::Invalid("an audit entry has a field over its limit")) }
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number: rising, without reuse.
    pub id: u64,
    /// Its content.
    pub entry: Entry,
}

/// Selects entries; the newest come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditQuery {
    /// At or after this time, in milliseconds since 1970.
    pub since: u64,
    /// Before this time, in milliseconds since 1970; `u64::MAX` for no bound.
    pub until: u64,
    /// Of this kind only.
    pub kind: Option<Event>,
    /// With numbers below this one: the `id` of the last row of the page before; `u64::MAX` for the
    /// first page.
    pub before_id: u64,
    /// The most rows.
    pub limit: u32,
}

impl Default for AuditQuery {
    fn default() -> Self {
        Self { since: 0, until: u64::MAX, kind: None, before_id: u64::MAX, limit: 100 }
    }
}

/// Entries of one kind and origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) kind: Event,
    pub(crate) origin: String,
    pub(crate) rows: u64,
    /// The number of the oldest.
    pub(crate) oldest: u64,
}

/// What must go if the log has more than `most` entries: of each group returned, so many of the
/// oldest. `groups`: everything in the log. Grouping costs more than removing one entry, so a
/// sixteenth of the bound is made free at once.
pub(crate) fn giving_way(groups: Vec<Group>, most: u64) -> Vec<Group> {
    let total: u64 = groups.iter().map(|group| group.rows).sum();
    if total <= most {
        return Vec::new();
    }
    // By kind, then by who has the address: one customer has many IPv6 addresses.
    let mut kinds: BTreeMap<&str, BTreeMap<String, Vec<Group>>> = BTreeMap::new();
    for group in groups {
        let source = group.origin.parse::<IpAddr>().map_or_else(|_| group.origin.clone(), |ip| customer(ip).to_string());
        kinds.entry(group.kind.as_str()).or_default().entry(source).or_default().push(group);
    }
    let rows_of = |groups: &Vec<Group>| groups.iter().map(|group| group.rows).sum::<u64>();
    let rows_of_kind = |sources: &BTreeMap<_, _>| sources.values().map(rows_of).sum::<u64>();
    let counts: Vec<u64> = kinds.values().map(rows_of_kind).collect();
    let mut going = Vec::new();
    for (sources, excess) in kinds.into_values().zip(from_the_largest(&counts, total - (most - most / 16))) {
        let counts: Vec<u64> = sources.values().map(rows_of).collect();
        for (mut groups, mut excess) in sources.into_values().zip(from_the_largest(&counts, excess)) {
            groups.sort_by_key(|group| group.oldest);
            for mut group in groups {
                group.rows = group.rows.min(excess);
                excess -= group.rows;
                if group.rows > 0 {
                    going.push(group);
                }
            }
        }
    }
    going
}

/// Divides an excess so that always the largest of these counts gives one more.
fn from_the_largest(counts: &[u64], excess: u64) -> Vec<u64> {
    let above = |level: u64| counts.iter().map(|count| count.saturating_sub(level)).sum::<u64>();
    let (mut low, mut high) = (0, counts.iter().copied().max().unwrap_or(0));
    while low < high {
        let level = low + (high - low) / 2;
        if above(level) <= excess {
            high = level;
        } else {
            low = level + 1;
        }
    }
    let mut left = excess.saturating_sub(above(low));
    let one_more = |count: u64, left: &mut u64| {
        let gives = *left > 0 && low > 0 && count >= low;
        *left -= u64::from(gives);
        u64::from(gives)
    };
    counts.iter().map(|count| count.saturating_sub(low) + one_more(*count, &mut left)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(kind: Event, origin: &str, rows: u64, oldest: u64) -> Group {
        Group { kind, origin: origin.to_owned(), rows, oldest }
    }

    #[test]
    fn the_largest_gives_until_others_are_as_large() {
        assert_eq!(from_the_largest(&[10, 4, 1], 5), [5, 0, 0]);
        assert_eq!(from_the_largest(&[10, 4, 1], 8), [7, 1, 0]);
        assert_eq!(from_the_largest(&[10, 4, 1], 15), [10, 4, 1]);
        assert_eq!(from_the_largest(&[3, 3], 1), [1, 0]);
        assert_eq!(from_the_largest(&[], 0), [] as [u64; 0]);
    }

    #[test]
    fn the_kind_with_most_gives_way_and_of_it_the_address_with_most() {
        let log = vec![
            group(Event::Admin, "", 30, 1),
            group(Event::Connection, "192.0.2.1", 20, 2),
            group(Event::Connection, "198.51.100.1", 60, 3),
        ];
        assert!(giving_way(log.clone(), 110).is_empty());
        assert_eq!(giving_way(log, 96), [group(Event::Connection, "198.51.100.1", 20, 3)]);
    }

    #[test]
    fn addresses_of_one_customer_are_one() {
        let mut log = vec![group(Event::Refusal, "2001:db8:1::1", 10, 1)];
        log.extend((0..50).map(|number| group(Event::Refusal, &format!("2001:db8:2::{number:x}"), 1, 100 - number)));
        let going = giving_way(log, 40);
        assert_eq!(going.iter().map(|group| group.rows).sum::<u64>(), 22);
        assert!(going.iter().all(|group| group.origin.starts_with("2001:db8:2:")));
        assert_eq!(going.first().map(|group| group.oldest), Some(51), "the oldest first");
    }
}
