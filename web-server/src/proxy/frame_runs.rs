//! Finds the whole frames in the bytes of one socket and passes on runs of them, for a side that
//! reads headers only.
//!
//! [`transport::FrameScanner`] is for code that reads the content of frames, one by one. Here
//! frames are passed on as they lie in the bytes that were read: a run of them is copied once, and
//! a long frame that arrived in pieces is not copied again. The header of a frame is checked before
//! any of its payload is kept. Whatever length a peer announces, at most eight times the bytes that
//! it has sent are allocated.

use transport::{
    FrameError,
    frame::{FrameHeader, OpCode, Origin},
};

/// What happens to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes into the run.
    Take,
    /// It does not go into the run.
    Leave,
    /// It does not go into the run, and later frames are ignored.
    Stop,
}

/// See the module.
#[derive(Debug)]
pub struct FrameRuns {
    origin: Origin,
    max_payload: usize,
    /// The beginning of a frame whose rest has not arrived.
    partial: Vec<u8>,
}

impl FrameRuns {
    /// For bytes from `origin`, whose frames may carry `max_payload` bytes.
    pub fn new(origin: Origin, max_payload: usize) -> Self {
        Self { origin, max_payload, partial: Vec::new() }
    }

    /// Shows each whole frame to `visit`, as it came, and appends the frames that it takes to
    /// `run`.
    ///
    /// # Errors
    /// A frame breaks the rules, or `visit` returns an error. `run` has the frames that were taken
    /// before.
    pub fn feed(
        &mut self,
        input: &mut [u8],
        run: &mut Vec<u8>,
        mut visit: impl FnMut(&FrameHeader, &mut [u8]) -> Result<Verdict, FrameError>,
    ) -> Result<(), FrameError> {
        let mut input = input;
        if !self.partial.is_empty() {
            let Some((header, used)) = self.complete(input)? else { return Ok(()) };
            let mut frame = std::mem::take(&mut self.partial);
            match visit(&header, &mut frame)? {
                Verdict::Take if run.is_empty() => *run = frame,
                Verdict::Take => run.extend_from_slice(&frame),
                Verdict::Leave => {}
                Verdict::Stop => return Ok(()),
            }
            input = input.get_mut(used..).unwrap_or_default();
        }
        self.walk(input, run, visit)
    }

    /// Moves bytes from `input` until the frame that was begun is whole. Returns its header, and
    /// how many bytes it took.
    fn complete(&mut self, input: &[u8]) -> Result<Option<(FrameHeader, usize)>, FrameError> {
        let mut used = 0;
        loop {
            let header = FrameHeader::read(&self.partial, self.origin, self.max_payload)?;
            let whole = header.map(|header| header.header_len + header.payload_len);
            if let (Some(header), Some(whole)) = (header, whole)
                && self.partial.len() >= whole
            {
                return Ok(Some((header, used)));
            }
            let rest = input.get(used..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(None);
            }
            // An incomplete header grows by one byte at a time, so that nothing behind it is taken.
            let missing = whole.map_or(1, |whole| whole - self.partial.len());
            if missing / 8 <= self.partial.len() {
                self.partial.reserve_exact(missing);
            }
            let taken = rest.get(..missing).unwrap_or(rest);
            self.partial.extend_from_slice(taken);
            used += taken.len();
        }
    }

    /// Reads frames in place, and keeps the incomplete one at the end.
    fn walk(
        &mut self,
        input: &mut [u8],
        run: &mut Vec<u8>,
        mut visit: impl FnMut(&FrameHeader, &mut [u8]) -> Result<Verdict, FrameError>,
    ) -> Result<(), FrameError> {
        let (mut begin, mut at) = (0, 0);
        let outcome = loop {
            let rest = input.get_mut(at..).unwrap_or_default();
            let header = match self.header(rest) {
                Ok(Some(header)) => header,
                Ok(None) => break Ok(true),
                Err(fault) => break Err(fault),
            };
            let Some(frame) = rest.get_mut(..header.header_len + header.payload_len) else { break Ok(true) };
            let next = at + frame.len();
            match visit(&header, frame) {
                Ok(Verdict::Take) => {}
                Ok(Verdict::Leave) => {
                    take(run, input, begin, at);
                    begin = next;
                }
                Ok(Verdict::Stop) => break Ok(false),
                Err(fault) => break Err(fault),
            }
            at = next;
        };
        take(run, input, begin, at);
        if outcome? {
            self.partial.extend_from_slice(input.get(at..).unwrap_or_default());
        }
        Ok(())
    }

    /// Reads a header. The most frequent kind, a short whole text from the broker, takes a few
    /// instructions.
    fn header(&self, bytes: &[u8]) -> Result<Option<FrameHeader>, FrameError> {
        let text = |header_len, payload_len| FrameHeader { fin: true, opcode: OpCode::Text, mask: None, header_len, payload_len };
        match (self.origin, bytes) {
            (Origin::Server, [0x81, length @ 0..=125, ..]) => Ok(Some(text(2, usize::from(*length)))),
            (Origin::Server, [0x81, 126, high, low, ..]) => match usize::from(u16::from_be_bytes([*high, *low])) {
                length if length > 125 && length <= self.max_payload => Ok(Some(text(4, length))),
                _ => FrameHeader::read(bytes, self.origin, self.max_payload),
            },
            _ => FrameHeader::read(bytes, self.origin, self.max_payload),
        }
    }
}

/// Appends a part of the input to the run. The run has exactly the size it needs, because it is
/// shared and does not grow later.
fn take(run: &mut Vec<u8>, input: &[u8], begin: usize, end: usize) {
    if let Some(frames) = input.get(begin..end)
        && !frames.is_empty()
    {
        run.reserve_exact(frames.len());
        run.extend_from_slice(frames);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use transport::{Frame, frame::write_header};

    use super::*;

    const LIMIT: usize = 100_000;

    /// Feeds a stream in pieces; text is taken, pings are left and counted.
    fn feed(runs: &mut FrameRuns, stream: &[u8], size: usize) -> Result<(Vec<u8>, usize), FrameError> {
        let (mut all, mut pings) = (Vec::new(), 0);
        for piece in stream.chunks(size) {
            let mut run = Vec::new();
            runs.feed(&mut piece.to_vec(), &mut run, |header, frame| {
                assert_eq!(frame.len(), header.header_len + header.payload_len);
                if header.opcode == OpCode::Ping {
                    pings += 1;
                    return Ok(Verdict::Leave);
                }
                Ok(Verdict::Take)
            })?;
            all.extend(run);
        }
        Ok((all, pings))
    }

    #[test]
    fn runs_are_the_frames_that_were_taken_whatever_the_pieces() {
        let texts = ["", "a", &"b".repeat(125), &"c".repeat(126), &"d".repeat(70_000), "e"].map(Frame::text);
        let mut stream = Vec::new();
        for text in &texts {
            stream.extend_from_slice(text.bytes());
            stream.extend_from_slice(Frame::ping().bytes());
        }
        let expected: Vec<u8> = texts.iter().flat_map(|text| text.bytes().to_vec()).collect();
        for size in [1, 2, 3, 7, 100, 1000, 65_536, stream.len()] {
            let mut runs = FrameRuns::new(Origin::Server, LIMIT);
            let (all, pings) = feed(&mut runs, &stream, size).expect("valid");
            assert!(all == expected, "pieces of {size}");
            assert_eq!((pings, runs.partial.len()), (texts.len(), 0));
        }
    }

    #[test]
    fn a_long_frame_in_pieces_is_handed_on_without_another_copy() {
        let mut runs = FrameRuns::new(Origin::Server, LIMIT);
        let stream = Frame::text(&"x".repeat(90_000)).bytes().to_vec();
        let (first, last) = stream.split_at(60_000);
        let (mut run, mut seen) = (Vec::new(), std::ptr::null());
        let mut visit = |_: &FrameHeader, frame: &mut [u8]| {
            seen = frame.as_ptr();
            Ok(Verdict::Take)
        };
        runs.feed(&mut first.to_vec(), &mut run, &mut visit).expect("valid");
        assert!(run.is_empty());
        runs.feed(&mut last.to_vec(), &mut run, &mut visit).expect("valid");
        assert_eq!((run.as_ptr(), run.len()), (seen, stream.len()));
    }

    #[test]
    fn faults_come_with_what_was_taken_before() {
        let mut stream = Frame::text("good").bytes().to_vec();
        stream.extend([0x83, 0]);
        let mut run = Vec::new();
        let mut runs = FrameRuns::new(Origin::Server, LIMIT);
        let outcome = runs.feed(&mut stream, &mut run, |_, _| Ok(Verdict::Take));
        assert_eq!((outcome, run.len()), (Err(FrameError::ReservedOpCode), 6));
    }

    #[test]
    fn nothing_after_a_stop_counts() {
        let mut stream = [Frame::text("one"), Frame::ping(), Frame::text("two")].map(|frame| frame.bytes().to_vec()).concat();
        let mut run = Vec::new();
        let mut runs = FrameRuns::new(Origin::Server, LIMIT);
        let visit =
            |header: &FrameHeader, _: &mut [u8]| Ok(if header.opcode == OpCode::Ping { Verdict::Stop } else { Verdict::Take });
        runs.feed(&mut stream, &mut run, visit).expect("valid");
        assert_eq!((run.len(), runs.partial.len()), (5, 0));
    }

    #[test]
    fn a_claim_costs_little_until_it_is_made_good() {
        let mut runs = FrameRuns::new(Origin::Server, 1 << 30);
        let mut head = Vec::new();
        write_header(&mut head, OpCode::Text, 1 << 29, None);
        head.extend([0; 100]);
        for piece in head.chunks(7) {
            runs.feed(&mut piece.to_vec(), &mut Vec::new(), |_, _| Ok(Verdict::Take)).expect("valid");
        }
        assert!(runs.partial.capacity() < 1000, "{}", runs.partial.capacity());
        let mut too_much = Vec::new();
        write_header(&mut too_much, OpCode::Text, (1 << 30) + 1, None);
        let mut runs = FrameRuns::new(Origin::Server, 1 << 30);
        let outcome = runs.feed(&mut too_much, &mut Vec::new(), |_, _| Ok(Verdict::Take));
        assert_eq!(outcome, Err(FrameError::TooBig { limit: 1 << 30 }));
    }

    proptest! {
        #[test]
        fn the_short_way_reads_headers_like_the_long_one(bytes in prop::collection::vec(any::<u8>(), 0..16), first in 0_usize..3, limit in 0_usize..70_000) {
            let mut bytes = bytes;
            if let Some(byte) = bytes.first_mut() { *byte = [0x81, 0x01, 0x89][first] }
            for origin in [Origin::Server, Origin::Client] {
                let runs = FrameRuns::new(origin, limit.max(125));
                prop_assert_eq!(runs.header(&bytes), FrameHeader::read(&bytes, origin, limit.max(125)));
            }
        }

        #[test]
        fn rubbish_never_panics(input: Vec<u8>, size in 1_usize..64) {
            let _ = feed(&mut FrameRuns::new(Origin::Client, 1000), &input, size);
        }
    }
}
