//! Sequence numbers: taken from blocks that are reserved in the store before use. Pure.
//!
//! A number that was shown is never used again, also after `kill -9`: the rest of a block is
//! skipped at the next start.

use std::ops::Range;

/// Numbers in a block.
pub const BLOCK: u32 = 65_536;

/// The present block and the next one.
#[derive(Debug, Default)]
pub struct Numbers {
    current: Range<u64>,
    next: Option<Range<u64>>,
    asked: bool,
}

impl Numbers {
    /// The next number; `None` if the store has not answered in time.
    pub fn take(&mut self) -> Option<u64> {
        if self.current.is_empty() {
            self.current = self.next.take()?;
        }
        self.current.next()
    }

    /// Whether another block should be requested now. Returns true once until [`Numbers::add`] or
    /// [`Numbers::failed`].
    pub fn should_ask(&mut self) -> bool {
        let left = self.current.end - self.current.start;
        let ask = !self.asked && self.next.is_none() && left < u64::from(BLOCK / 2);
        self.asked |= ask;
        ask
    }

    /// A block was reserved.
    pub fn add(&mut self, block: Range<u64>) {
        self.asked = false;
        if self.current.is_empty() && self.next.is_none() {
            self.current = block;
        } else {
            self.next = Some(block);
        }
    }

    /// A block could not be reserved.
    pub fn failed(&mut self) {
        self.asked = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_over_blocks_and_the_next_is_asked_for_in_time() {
        let mut numbers = Numbers::default();
        assert!(numbers.should_ask());
        assert!(!numbers.should_ask());
        assert_eq!(numbers.take(), None);
        numbers.add(10..10 + u64::from(BLOCK));
        assert!(!numbers.should_ask());
        for expected in 10..10 + u64::from(BLOCK) {
            assert_eq!(numbers.take(), Some(expected));
        }
        assert!(numbers.should_ask());
        numbers.failed();
        assert!(numbers.should_ask());
        numbers.add(200_000..200_001);
        assert_eq!((numbers.take(), numbers.take()), (Some(200_000), None));
    }
}
