//! Compresses an asset once, if its folder has no compressed form of it.
//!
//! Pure and slow: callers run it where blocking is allowed, and keep the result.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use super::negotiation::Coding;

/// Smaller assets fit one packet anyway.
const WORTH_COMPRESSING: usize = 512;
/// Larger assets would take seconds; they should be compressed in advance.
const TOO_LARGE: usize = 8 * 1024 * 1024;
/// Close to the best ratio at a tenth of its time (the best is 11).
const BROTLI_QUALITY: u32 = 7;
/// The usual window, 4 MiB.
const BROTLI_WINDOW: u32 = 22;
const BUFFER: usize = 16 * 1024;

/// Whether an asset of this length is compressed at all.
pub fn fits(length: usize) -> bool {
    (WORTH_COMPRESSING..=TOO_LARGE).contains(&length)
}

/// The compressed form, if it is smaller.
pub fn compress(plain: &[u8], coding: Coding) -> Option<Bytes> {
    let compressed = match coding {
        Coding::Brotli => brotli(plain),
        Coding::Gzip => gzip(plain),
        Coding::Identity => return None,
    };
    // Writing to memory does not fail. If it did, the plain bytes would still be right.
    compressed.ok().filter(|bytes| bytes.len() < plain.len()).map(Bytes::from)
}

fn gzip(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain)?;
    encoder.finish()
}

fn brotli(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressed = Vec::new();
    brotli::CompressorReader::new(plain, BUFFER, BROTLI_QUALITY, BROTLI_WINDOW).read_to_end(&mut compressed)?;
    Ok(compressed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_codings_give_the_plain_bytes_back() {
        let plain = b"the same words again and again ".repeat(100);
        let mut unpacked = Vec::new();
        let packed = compress(&plain, Coding::Gzip).expect("smaller");
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).expect("valid gzip");
        assert_eq!(unpacked, plain);

        unpacked.clear();
        let packed = compress(&plain, Coding::Brotli).expect("smaller");
        brotli::Decompressor::new(&packed[..], BUFFER).read_to_end(&mut unpacked).expect("valid brotli");
        assert_eq!(unpacked, plain);
    }

    #[test]
    fn files_that_do_not_shrink_are_not_compressed() {
        assert_eq!(compress(b"x", Coding::Gzip), None);
        assert_eq!(compress(&b"x".repeat(1000), Coding::Identity), None);
    }
}
