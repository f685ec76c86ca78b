//! The sources of assets: a folder, or the copy of `static/` built into the binary.
//!
//! Finds a file by its name and returns its content. It does not know HTTP, and blocks: callers run
//! it off the event loop.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};

use super::{folder::Folder, path::AssetPath};

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../static/"]
struct BuiltIn;

/// One of the two sources.
pub enum AssetSource {
    /// Files of a folder, read as they are at each request.
    Folder(Folder),
    /// Files of `static/` as they were when the binary was built.
    BuiltIn,
}

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

impl AssetSource {
    /// The folder at this path, or the built-in copy if none is given.
    ///
    /// # Errors
    /// The folder cannot be found.
    pub fn open(folder: Option<&PathBuf>) -> io::Result<Self> {
        Ok(match folder {
            Some(path) => Self::Folder(Folder::open(path)?),
            None => Self::BuiltIn,
        })
    }

    /// The file of this name; `None` if there is none, or none that may be served.
    ///
    /// # Errors
    /// It exists and cannot be read.
    pub fn find(&self, path: &AssetPath) -> io::Result<Option<Asset>> {
        match self {
            Self::Folder(folder) => folder.find(path),
            Self::BuiltIn => Ok(BuiltIn::get(path.as_str()).map(|file| {
                let content = match file.data {
                    std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
                    std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
                };
                // The time of the build machine's checkout says nothing about the file.
                Asset { content: Content::Bytes(content), digest: short(&file.metadata.sha256_hash()), modified: None }
            })),
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
fn short(hash: &[u8]) -> Arc<str> {
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_app_has_its_page_with_the_digest_of_its_bytes() {
        let source = AssetSource::open(None).expect("always there");
        let page = source.find(&AssetPath::index()).expect("readable").expect("there");
        let Content::Bytes(bytes) = page.content else { panic!("built in means in memory") };
        assert!(bytes.starts_with(b"<!doctype html>"));
        assert_eq!(page.digest, digest(&bytes[..]).expect("memory"));
        assert!(source.find(&AssetPath::parse("/nothing.js").expect("valid")).expect("readable").is_none());
    }
}
