//! Frames out of bytes.

use transport::{
    FrameError, FrameScanner, Step,
    frame::{FrameHeader, MAX_CONTROL_PAYLOAD, MAX_HEADER, Origin, apply_mask},
};

use super::pieces::Pieces;

/// From both origins: the frames are the same whatever the pieces, they are the bytes that came, in
/// order and without gaps, and what is not in a frame is kept.
pub fn raw_frames(data: &[u8]) {
    let Some(pieces) = Pieces::of(data) else { return };
    let max_payload = [16, 300, 70_000, 1 << 20][usize::from(pieces.choices & 3)];
    for origin in [Origin::Client, Origin::Server] {
        let whole = scan(origin, max_payload, std::iter::once(pieces.stream));
        let cut = scan(origin, max_payload, pieces.iter());
        assert_eq!(whole, cut);
        let (frames, fault) = whole;
        let bytes: Vec<u8> = frames.into_iter().flat_map(|(_, bytes)| bytes).collect();
        assert!(pieces.stream.starts_with(&bytes));
        let rest = pieces.stream.len() - bytes.len();
        assert!(fault.is_some() || rest <= MAX_HEADER + max_payload.max(MAX_CONTROL_PAYLOAD), "{rest} bytes are in no frame");
    }
}

type Frames = Vec<(FrameHeader, Vec<u8>)>;

/// The frames up to the first fault.
fn scan<'a>(origin: Origin, max_payload: usize, pieces: impl Iterator<Item = &'a [u8]>) -> (Frames, Option<FrameError>) {
    let mut scanner = FrameScanner::new(origin, max_payload);
    let mut frames = Vec::new();
    let (mut fed, mut framed) = (0, 0);
    for piece in pieces {
        fed += piece.len();
        let outcome = scanner.feed(&mut piece.to_vec(), |frame| {
            let (header, bytes) = (frame.header, frame.bytes.to_vec());
            assert_eq!(header.header_len + header.payload_len, bytes.len());
            assert_eq!(header.mask.is_some(), origin == Origin::Client);
            assert!(header.payload_len <= if header.opcode.is_control() { MAX_CONTROL_PAYLOAD } else { max_payload });
            let mut payload = frame.into_payload().to_vec();
            apply_mask(&mut payload, header.mask.unwrap_or_default());
            assert_eq!(payload, bytes[header.header_len..], "a mask taken off and put on again changes nothing");
            framed += bytes.len();
            frames.push((header, bytes));
            Ok(Step::Continue)
        });
        if let Err(error) = outcome {
            return (frames, Some(error));
        }
        assert_eq!(framed + scanner.kept(), fed, "every byte is in a frame or kept");
    }
    (frames, None)
}
