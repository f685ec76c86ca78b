//! What is made of one input: a stream of bytes and the pieces it comes in, or a known text of
//! which a part is another.

/// The input's first byte: choices. The second: how many bytes of lengths follow. Then the lengths,
/// less one, used again and again. The rest is the stream.
pub struct Pieces<'a> {
    /// Bits to choose by.
    pub choices: u8,
    /// All bytes.
    pub stream: &'a [u8],
    lengths: &'a [u8],
}

impl<'a> Pieces<'a> {
    /// `None`: the input is too short to be one.
    pub fn of(data: &'a [u8]) -> Option<Self> {
        let (&[choices, count], rest) = data.split_first_chunk::<2>()?;
        let (lengths, stream) = rest.split_at_checked(usize::from(count % 16))?;
        Some(Self { choices, stream, lengths })
    }

    /// The stream, cut up.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut lengths = self.lengths.iter().cycle();
        let mut rest = self.stream;
        std::iter::from_fn(move || {
            let length = lengths.next().map_or(rest.len(), |length| usize::from(*length) + 1);
            let (piece, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = after;
            (!piece.is_empty()).then_some(piece)
        })
    }
}

/// `whole`, which is ASCII, with a part of it replaced. The input's first byte says where, in
/// 256ths of its length, the second how many bytes; the rest is what is put there. `None`: the
/// input is too short, or no text.
pub fn replaced(whole: &str, data: &[u8]) -> Option<String> {
    let (&[at, length], part) = data.split_first_chunk::<2>()?;
    let start = usize::from(at) * whole.len() / 256;
    let end = (start + usize::from(length)).min(whole.len());
    Some([&whole[..start], std::str::from_utf8(part).ok()?, &whole[end..]].concat())
}
