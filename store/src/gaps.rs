//! What is missing from a channel's log: a short list of intervals. Pure; every backend uses it.
//!
//! Near the end the list is exact to a few dozen records; further back it is thinned. What a reader
//! missed is known exactly if its position is outside every interval, else as an upper bound.

use crate::{
    position::MAX_SEQ,
    record::{Lost, Precision},
};

/// The most intervals; beyond that the older half is merged in pairs.
const MAX_GAPS: usize = 32;
/// Removals that join the newest interval before another begins.
const JOINED: u64 = 32;
/// Bytes of one interval in the stored form.
const ENCODED: usize = 32;

/// Records removed between two numbers, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    from: u64,
    to: u64,
    trimmed: u64,
    dead: u64,
}

impl Gap {
    fn join(&mut self, other: &Gap) {
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.trimmed += other.trimmed;
        self.dead += other.dead;
    }
}

/// The gaps of one channel, in the order of their ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gaps(Vec<Gap>);

impl Gaps {
    /// Records that retention removed `count` records with numbers from `from` to `to`.
    pub(crate) fn trimmed(&mut self, from: u64, to: u64, count: u64) {
        self.note(Gap { from, to, trimmed: count, dead: 0 });
    }

    /// Records that a record was moved to the dead-letter channel.
    pub(crate) fn dead_lettered(&mut self, seq: u64) {
        self.note(Gap { from: seq, to: seq, trimmed: 0, dead: 1 });
    }

    fn note(&mut self, gap: Gap) {
        if let Some(last) = self.0.last_mut()
            && gap.from > last.to
            && last.trimmed + last.dead + gap.trimmed + gap.dead <= JOINED
        {
            last.join(&gap);
            return;
        }
        if let Some(around) = self.0.iter_mut().find(|known| known.from <= gap.from && gap.to <= known.to) {
            around.join(&gap);
            return;
        }
        let place = self.0.partition_point(|known| known.to < gap.to);
        self.0.insert(place, gap);
        if self.0.len() > MAX_GAPS {
            self.thin();
        }
    }

    fn thin(&mut self) {
        let newer = self.0.split_off(MAX_GAPS / 2);
        let older = std::mem::take(&mut self.0);
        for pair in older.chunks(2) {
            let mut pair = pair.iter();
            if let Some(mut joined) = pair.next().copied() {
                pair.for_each(|gap| joined.join(gap));
                self.0.push(joined);
            }
        }
        self.0.extend(newer);
    }

    /// What a reader at `position` can no longer read, of a channel whose first record had the
    /// number `born`.
    pub(crate) fn lost_after(&self, position: u64, born: u64) -> Option<Lost> {
        let known = self.removed_after(position);
        if position == 0 || position >= born {
            return known;
        }
        // The position is from an earlier life of the channel.
        let known = known.unwrap_or(Lost { trimmed: 0, dead_lettered: 0, precision: Precision::Unknown, through: position });
        Some(Lost { precision: Precision::Unknown, ..known })
    }

    fn removed_after(&self, position: u64) -> Option<Lost> {
        let mut lost = Lost { trimmed: 0, dead_lettered: 0, precision: Precision::Exact, through: 0 };
        for gap in self.0.iter().filter(|gap| gap.to > position) {
            lost.trimmed += gap.trimmed;
            lost.dead_lettered += gap.dead;
            lost.through = lost.through.max(gap.to);
            if gap.from <= position {
                lost.precision = Precision::AtMost;
            }
        }
        (lost.through != 0).then_some(lost)
    }

    /// The stored form.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let numbers = self.0.iter().flat_map(|gap| [gap.from, gap.to, gap.trimmed, gap.dead]);
        numbers.flat_map(u64::to_le_bytes).collect()
    }

    /// Reads the stored form; `None` if it is invalid.
    pub(crate) fn decode(stored: &[u8]) -> Option<Self> {
        let (gaps, rest) = stored.as_chunks::<ENCODED>();
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).ok();
        let decode = |gap: &[u8; ENCODED]| {
            let (interval, counts) = gap.split_at(16);
            let gap = Gap {
                from: number(interval.get(..8)?)?,
                to: number(interval.get(8..)?)?,
                trimmed: number(counts.get(..8)?)?,
                dead: number(counts.get(8..)?)?,
            };
            let is_valid = gap.from <= gap.to && [gap.to, gap.trimmed, gap.dead].iter().all(|number| *number <= MAX_SEQ);
            is_valid.then_some(gap)
        };
        rest.is_empty().then(|| gaps.iter().map(decode).collect::<Option<Vec<_>>>())?.map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_position_outside_every_gap_is_known_exactly() {
        let mut gaps = Gaps::default();
        gaps.trimmed(1, 50, 50);
        gaps.dead_lettered(70);
        let lost = |position| gaps.removed_after(position).map(|lost| (lost.trimmed, lost.dead_lettered, lost.precision));
        assert_eq!(lost(0), Some((50, 1, Precision::Exact)));
        assert_eq!(lost(20), Some((50, 1, Precision::AtMost)));
        assert_eq!(lost(50), Some((0, 1, Precision::Exact)));
        assert_eq!(lost(70), None);
    }

    #[test]
    fn numbers_that_nobody_has_written_are_seen() {
        for (from, to, trimmed) in [(1, u64::MAX, 1), (1, 2, u64::MAX), (3, 2, 1)] {
            let mut gaps = Gaps::default();
            gaps.trimmed(from, to, trimmed);
            assert_eq!(Gaps::decode(&gaps.encode()), None, "{gaps:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_lost_is_ever_passed_over(
            removals in prop::collection::vec((1_u64..5_000, any::<bool>()), 0..600),
            position in 0_u64..5_000,
        ) {
            let mut gaps = Gaps::default();
            let mut gone = std::collections::BTreeMap::new();
            for (seq, dead) in removals {
                if gone.contains_key(&seq) {
                    continue;
                }
                gone.insert(seq, dead);
                if dead { gaps.dead_lettered(seq) } else { gaps.trimmed(seq, seq, 1) }
            }
            prop_assert!(gaps.0.len() <= MAX_GAPS);
            prop_assert_eq!(Gaps::decode(&gaps.encode()), Some(gaps.clone()));
            let missed = |dead| gone.range(position + 1..).filter(|(_, is_dead)| **is_dead == dead).count() as u64;
            let lost = gaps.removed_after(position);
            match lost {
                None => prop_assert_eq!(missed(true) + missed(false), 0),
                Some(lost) if lost.precision == Precision::Exact => {
                    prop_assert_eq!((lost.trimmed, lost.dead_lettered), (missed(false), missed(true)));
                }
                Some(lost) => prop_assert!(lost.trimmed >= missed(false) && lost.dead_lettered >= missed(true)),
            }
        }
    }
}
