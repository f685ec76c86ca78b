//! Finds the frames in a stream of bytes, in place, however the bytes are split.
//!
//! A frame's header is checked before a byte of its payload is kept, so what a peer claims to send
//! costs nothing. Only two things are kept: the start of one incomplete frame, and bytes that a
//! paused handler has not seen yet.

use crate::{
    frame::{FrameError, FrameHeader, Origin},
    pump::Step,
};

/// One complete frame in place: header, and payload still masked.
#[derive(Debug)]
pub struct RawFrame<'a> {
    /// The parsed header.
    pub header: FrameHeader,
    /// Header and payload as received.
    pub bytes: &'a mut [u8],
}

impl<'a> RawFrame<'a> {
    /// The payload, unmasked.
    pub fn into_payload(self) -> &'a mut [u8] {
        let payload = &mut self.bytes[self.header.header_len..];
        if let Some(mask) = self.header.mask {
            crate::frame::apply_mask(payload, mask);
        }
        payload
    }
}

/// Finds the frames in the bytes of one connection.
#[derive(Debug)]
pub struct FrameScanner {
    origin: Origin,
    max_payload: usize,
    kept: Vec<u8>,
}

impl FrameScanner {
    /// A scanner for bytes from `origin` whose frames may carry `max_payload` bytes.
    pub fn new(origin: Origin, max_payload: usize) -> Self {
        Self { origin, max_payload, kept: Vec::new() }
    }

    /// Bytes kept for later.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Passes each complete frame in the kept bytes and `input` to `on_frame`. An empty `input`
    /// continues after a pause.
    ///
    /// Stops after a frame for which `on_frame` returns [`Step::Pause`], and keeps what follows it.
    ///
    /// # Errors
    /// A frame breaks RFC 6455 or is too long, or `on_frame` refuses it.
    pub fn feed<F>(&mut self, input: &mut [u8], mut on_frame: F) -> Result<Step, FrameError>
    where
        F: FnMut(RawFrame<'_>) -> Result<Step, FrameError>,
    {
        self.feed_to(input, &mut on_frame)
    }

    fn feed_to<F>(&mut self, input: &mut [u8], on_frame: &mut F) -> Result<Step, FrameError>
    where
        F: FnMut(RawFrame<'_>) -> Result<Step, FrameError>,
    {
        let mut input = input;
        if !self.kept.is_empty() {
            let taken = self.fill(input)?;
            input = &mut input[taken..];
            let mut kept = std::mem::take(&mut self.kept);
            let (used, step) = self.walk(&mut kept, on_frame)?;
            if used < kept.len() || step == Step::Pause {
                kept.drain(..used);
                self.kept = kept;
                if step == Step::Pause || input.is_empty() {
                    self.kept.extend_from_slice(input);
                    return Ok(step);
                }
                // The complete frames that a pause had left are done, and the start of another is
                // there.
                return self.feed_to(input, on_frame);
            }
        }
        let (used, step) = self.walk(input, on_frame)?;
        self.kept.extend_from_slice(&input[used..]);
        Ok(step)
    }

    /// Moves bytes from `input` behind the kept ones until they hold one complete frame, and no
    /// more: the rest is scanned in place. Returns how many.
    fn fill(&mut self, input: &[u8]) -> Result<usize, FrameError> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            match FrameHeader::read(&self.kept, self.origin, self.max_payload)? {
                Some(header) => {
                    let missing = (header.header_len + header.payload_len).saturating_sub(self.kept.len()).min(rest.len());
                    self.kept.extend_from_slice(&rest[..missing]);
                    return Ok(taken + missing);
                }
                None => match rest.first() {
                    Some(byte) => self.kept.push(*byte),
                    None => return Ok(taken),
                },
            }
            taken += 1;
        }
    }

    fn walk<F>(&self, bytes: &mut [u8], on_frame: &mut F) -> Result<(usize, Step), FrameError>
    where
        F: FnMut(RawFrame<'_>) -> Result<Step, FrameError>,
    {
        let mut used = 0;
        while let Some(header) = FrameHeader::read(&bytes[used..], self.origin, self.max_payload)? {
            let Some(frame) = bytes[used..].get_mut(..header.header_len + header.payload_len) else { break };
            used += frame.len();
            if on_frame(RawFrame { header, bytes: frame })? == Step::Pause {
                return Ok((used, Step::Pause));
            }
        }
        Ok((used, Step::Continue))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;

    fn stream() -> Vec<u8> {
        ["a", "", &"b".repeat(300), "c"].iter().flat_map(|text| Frame::text(text).bytes().to_vec()).collect()
    }

    fn collect(scanner: &mut FrameScanner, input: &mut [u8], pause_at: Option<usize>) -> (Vec<usize>, Step) {
        let mut lengths = Vec::new();
        let step = scanner
            .feed(input, |frame| {
                lengths.push(frame.header.payload_len);
                Ok(if Some(lengths.len()) == pause_at { Step::Pause } else { Step::Continue })
            })
            .expect("valid frames");
        (lengths, step)
    }

    #[test]
    fn frames_are_found_whatever_the_pieces() {
        let stream = stream();
        for size in 1..stream.len() {
            let mut scanner = FrameScanner::new(Origin::Server, 1000);
            let mut lengths = Vec::new();
            for piece in stream.chunks(size) {
                lengths.extend(collect(&mut scanner, &mut piece.to_vec(), None).0);
            }
            assert_eq!(lengths, [1, 0, 300, 1], "pieces of {size}");
            assert_eq!(scanner.kept(), 0);
        }
    }

    #[test]
    fn a_pause_keeps_the_rest_for_later() {
        let mut scanner = FrameScanner::new(Origin::Server, 1000);
        assert_eq!(collect(&mut scanner, &mut stream(), Some(1)), (vec![1], Step::Pause));
        assert_eq!(collect(&mut scanner, &mut [], Some(1)), (vec![0], Step::Pause));
        assert_eq!(collect(&mut scanner, &mut [], None), (vec![300, 1], Step::Continue));
        assert_eq!(scanner.kept(), 0);
    }

    #[test]
    fn a_huge_claim_keeps_nothing() {
        let mut scanner = FrameScanner::new(Origin::Server, 1000);
        let mut claim = [0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0];
        assert_eq!(scanner.feed(&mut claim, |_| Ok(Step::Continue)), Err(FrameError::TooBig { limit: 1000 }));
        assert_eq!(scanner.kept(), 0);
    }

    proptest::proptest! {
        #[test]
        fn every_frame_comes_once_and_in_order_whatever_the_pieces_and_pauses(
            lengths in proptest::collection::vec(0_usize..400, 1..20),
            pieces in proptest::collection::vec((1_usize..300, proptest::option::of(1_usize..4)), 1..200),
        ) {
            let mut stream: Vec<u8> = lengths.iter().flat_map(|length| Frame::text(&"x".repeat(*length)).bytes().to_vec()).collect();
            let mut scanner = FrameScanner::new(Origin::Server, 1000);
            let mut seen = Vec::new();
            for (size, pause_at) in pieces {
                let rest = stream.split_off(size.min(stream.len()));
                seen.extend(collect(&mut scanner, &mut stream, pause_at).0);
                stream = rest;
            }
            seen.extend(collect(&mut scanner, &mut stream, None).0);
            proptest::prop_assert_eq!(seen, lengths);
            proptest::prop_assert_eq!(scanner.kept(), 0);
        }
    }
}
