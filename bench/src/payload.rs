//! Payloads, and the check that they arrive whole, once and in order.
//!
//! A payload is a JSON object of a fixed size, the same bytes for every peer:
//! `{"v":"PPPPNNNNNNNNTTTTTTTTTTTT…"}`. It has the publisher, the number of the message and a time
//! in hexadecimal, and then filler that depends on publisher and number. So every byte but the time
//! is known in advance, and all of them are compared.

use crate::fault::{Fault, shown};

/// Size of the smallest payload, which has no filler, in bytes.
pub const MIN_SIZE: usize = Payloads::PREFIX.len() + STAMP + SUFFIX.len();

const SUFFIX: &[u8] = br#""}"#;
/// Publisher (4 digits), number (8) and time (12).
const STAMP: usize = 24;
/// How many different fillers there are.
const VARIANTS: usize = 4096;

/// The publisher, number and time in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Who published it.
    pub publisher: u16,
    /// The message's number among those of its publisher, from 0.
    pub number: u32,
    /// When it should have been sent, in nanoseconds of the run's clock (48 bits).
    pub time: u64,
}

/// Writes and checks payloads of one size.
#[derive(Debug)]
pub struct Payloads {
    size: usize,
    pool: Vec<u8>,
}

impl Payloads {
    /// How every payload begins.
    pub const PREFIX: &[u8] = br#"{"v":""#;

    /// Payloads of `size` bytes, at least [`MIN_SIZE`].
    pub fn new(size: usize) -> Self {
        let size = size.max(MIN_SIZE);
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let pool = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            alphabet.get((state >> 58) as usize).copied().unwrap_or(b'A')
        })
        .take(size + VARIANTS)
        .collect();
        Self { size, pool }
    }

    /// Bytes of each payload.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Replaces the content of `out` with the payload for `stamp`.
    pub fn write(&self, out: &mut Vec<u8>, stamp: Stamp) {
        out.clear();
        out.extend_from_slice(Self::PREFIX);
        put_hex(out, u64::from(stamp.publisher), 4);
        put_hex(out, u64::from(stamp.number), 8);
        put_hex(out, stamp.time, 12);
        out.extend_from_slice(self.filler(stamp.publisher, stamp.number));
        out.extend_from_slice(SUFFIX);
    }

    /// The stamp of `payload`; `None` if any byte differs from what was written.
    pub fn read(&self, payload: &[u8]) -> Option<Stamp> {
        if payload.len() != self.size {
            return None;
        }
        let rest = payload.strip_prefix(Self::PREFIX)?.strip_suffix(SUFFIX)?;
        let (publisher, rest) = rest.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (time, filler) = rest.split_first_chunk::<12>()?;
        let stamp = Stamp {
            publisher: u16::try_from(hex(publisher)?).ok()?,
            number: u32::try_from(hex(number)?).ok()?,
            time: hex(time)?,
        };
        (filler == self.filler(stamp.publisher, stamp.number)).then_some(stamp)
    }

    fn filler(&self, publisher: u16, number: u32) -> &[u8] {
        let start = (usize::from(publisher) * 61 + number as usize * 17) % VARIANTS;
        self.pool.get(start..start + self.size - MIN_SIZE).unwrap_or_default()
    }
}

/// Checks that one receiver gets every message of one publisher whole, once and in order.
#[derive(Clone, Copy, Debug)]
pub struct InOrder {
    publisher: u16,
    next: u32,
}

impl InOrder {
    /// Nothing from `publisher` has arrived yet.
    pub fn of(publisher: u16) -> Self {
        Self { publisher, next: 0 }
    }

    /// How many messages have arrived.
    pub fn count(&self) -> u32 {
        self.next
    }

    /// Checks the next payload that arrived on `conn`.
    pub fn take(&mut self, payloads: &Payloads, conn: usize, payload: &[u8]) -> Result<Stamp, Fault> {
        let expected = self.next;
        let stamp = payloads.read(payload).ok_or_else(|| Fault::Damaged { conn, expected, shown: shown(payload) })?;
        if stamp.publisher != self.publisher {
            return Err(Fault::WrongPublisher { conn, expected: self.publisher, got: stamp.publisher });
        }
        if stamp.number != expected {
            return Err(Fault::OutOfOrder { conn, expected, got: stamp.number });
        }
        self.next += 1;
        Ok(stamp)
    }
}

fn put_hex(out: &mut Vec<u8>, value: u64, digits: u32) {
    for digit in (0..digits).rev() {
        let nibble = (value >> (4 * digit)) as u8 & 0xf;
        out.push(if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble });
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    let mut value = 0;
    for &digit in digits {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u64::from(nibble);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMPS: [Stamp; 3] = [
        Stamp { publisher: 0, number: 0, time: 0 },
        Stamp { publisher: 199, number: 123_456_789, time: 0xffff_ffff_ffff },
        Stamp { publisher: u16::MAX, number: u32::MAX, time: 17 },
    ];

    fn written(payloads: &Payloads, publisher: u16, number: u32) -> Vec<u8> {
        let mut out = Vec::new();
        payloads.write(&mut out, Stamp { publisher, number, time: 5 });
        out
    }

    #[test]
    fn a_payload_is_json_of_its_size_and_says_what_was_written() {
        for size in [MIN_SIZE, 40, 200, 5000] {
            let payloads = Payloads::new(size);
            for stamp in STAMPS {
                let mut out = Vec::new();
                payloads.write(&mut out, stamp);
                assert_eq!(out.len(), size);
                assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
                assert_eq!(payloads.read(&out), Some(stamp));
            }
        }
    }

    #[test]
    fn any_changed_byte_but_of_the_time_is_noticed() {
        let payloads = Payloads::new(200);
        let good = written(&payloads, 3, 77);
        let time = Payloads::PREFIX.len() + 12..Payloads::PREFIX.len() + STAMP;
        for index in (0..good.len()).filter(|index| !time.contains(index)) {
            let mut bad = good.clone();
            bad[index] ^= 1;
            let mut order = InOrder { publisher: 3, next: 77 };
            assert!(order.take(&payloads, 0, &bad).is_err(), "byte {index}");
        }
        assert_eq!(payloads.read(&good[..199]), None);
    }

    #[test]
    fn messages_in_order_are_counted() {
        let payloads = Payloads::new(60);
        let mut order = InOrder::of(2);
        for number in 0..1000 {
            assert!(order.take(&payloads, 0, &written(&payloads, 2, number)).is_ok());
        }
        assert_eq!(order.count(), 1000);
    }

    #[test]
    fn a_gap_a_repetition_and_a_stranger_are_faults() {
        let payloads = Payloads::new(60);
        let mut order = InOrder::of(2);
        assert!(order.take(&payloads, 7, &written(&payloads, 2, 0)).is_ok());
        assert!(matches!(
            order.take(&payloads, 7, &written(&payloads, 2, 2)),
            Err(Fault::OutOfOrder { conn: 7, expected: 1, got: 2 })
        ));
        assert!(matches!(
            order.take(&payloads, 7, &written(&payloads, 2, 0)),
            Err(Fault::OutOfOrder { expected: 1, got: 0, .. })
        ));
        assert!(matches!(
            order.take(&payloads, 7, &written(&payloads, 9, 1)),
            Err(Fault::WrongPublisher { expected: 2, got: 9, .. })
        ));
        assert!(matches!(order.take(&payloads, 7, b"{}"), Err(Fault::Damaged { expected: 1, .. })));
    }
}
