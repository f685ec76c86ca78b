//! The sources of assets: a folder, or the copy of `static/` built into the binary.
//!
//! Finds a file by its name and returns its content. It does not know HTTP, and blocks: callers run
//! it off the event loop.

use std::{io, path::PathBuf};

use bytes::Bytes;
use rust_embed::RustEmbed;

use super::{
    asset::{Asset, Content, short},
    folder::Folder,
    path::AssetPath,
};

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

#[cfg(test)]
mod tests {
    use super::{super::asset::digest, *};

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
