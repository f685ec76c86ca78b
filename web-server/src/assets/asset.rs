//! One file of the app: its bytes, and the name of its content.

use std::{
    fs::File,
    io::{self, Read},
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// A file that was found.
#[derive(Clone)]
pub struct Asset {
    /// Its content.
    pub content: Content,
    /// Identifies the content: equal digests, equal bytes.
    pub digest: Arc<str>,
    /// When it was last changed, if known.
    pub modified: Option<SystemTime>,
}

/// The bytes of a file.
#[derive(Clone)]
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// On disk, because it is large: an open file and its length.
    File(Arc<File>, u64),
}

impl Content {
    /// The length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }
}

/// The digest of everything that can be read.
pub(super) fn digest(mut reader: impl Read) -> io::Result<Arc<str>> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = reader.read(&mut buffer)?;
        match buffer.get(..count) {
            Some(read) if count > 0 => hasher.update(read),
            _ => return Ok(short(&hasher.finalize())),
        }
    }
}

/// 128 bits are plenty for a name.
pub(super) fn short(hash: &[u8]) -> Arc<str> {
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>().into()
}
