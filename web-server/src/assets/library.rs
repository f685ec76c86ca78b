//! The library: a source of assets, and the forms of each that clients can get.
//!
//! A form (a representation in HTTP) is the plain file, a compressed file beside it (`app.js.br`),
//! or one compressed here once and remembered. Whoever builds the folder ensures that the
//! compressed file is up to date.

use std::{io, path::PathBuf, sync::Arc, time::SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    asset::{Asset, Content},
    cache::BoundedCache,
    compression,
    names::{cache_control, compresses_well, content_type},
    negotiation::{Accepted, Coding},
    path::AssetPath,
    source::AssetSource,
};

/// The bound of all forms compressed here, in bytes.
const REMEMBERED: usize = 16 * 1024 * 1024;

/// Why the library cannot be opened or an asset cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AssetError {
    /// The folder of the app.
    #[error("the folder of the app, {path}, cannot be opened: {source}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An existing file cannot be read.
    #[error("an asset cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// The digest of the plain file, and its coding.
type FormKey = (Arc<str>, Coding);

/// See the module.
pub struct Library {
    source: AssetSource,
    compressed: Mutex<BoundedCache<FormKey, Option<Bytes>>>,
    /// Held while something is compressed: several first requests for a file do the work once, and
    /// at most one core is busy.
    compressing: Mutex<()>,
}

/// One form of an asset, ready to be sent.
pub struct Representation {
    /// Its bytes.
    pub content: Content,
    /// Its coding.
    pub coding: Coding,
    /// Its strong entity tag, in quotes.
    pub etag: String,
    /// When the asset was last changed, if known.
    pub modified: Option<SystemTime>,
    /// `Content-Type`.
    pub content_type: String,
    /// `Cache-Control`.
    pub cache_control: &'static str,
}

impl Library {
    /// The app in this folder, or the built-in one.
    ///
    /// # Errors
    /// The folder cannot be opened.
    pub fn open(folder: Option<&PathBuf>) -> Result<Self, AssetError> {
        let source = AssetSource::open(folder)
            .map_err(|source| AssetError::Folder { path: folder.cloned().unwrap_or_default(), source })?;
        Ok(Self { source, compressed: Mutex::new(BoundedCache::new(REMEMBERED)), compressing: Mutex::new(()) })
    }

    /// The form of an asset that suits the client best. Reads the disk and compresses, so it
    /// blocks.
    ///
    /// # Errors
    /// A file exists and cannot be read.
    pub fn select(&self, path: &AssetPath, accepted: Accepted) -> Result<Option<Representation>, AssetError> {
        let Some(plain) = self.source.find(path)? else { return Ok(None) };
        for coding in accepted.ranked() {
            if let Some(asset) = self.form(path, &plain, coding)? {
                let tail = coding.name().map(|name| format!("-{name}")).unwrap_or_default();
                return Ok(Some(Representation {
                    etag: format!("\"{}{tail}\"", asset.digest),
                    content: asset.content,
                    coding,
                    modified: plain.modified,
                    content_type: content_type(path.as_str()),
                    cache_control: cache_control(path.as_str()),
                }));
            }
        }
        Ok(None)
    }

    fn form(&self, path: &AssetPath, plain: &Asset, coding: Coding) -> io::Result<Option<Asset>> {
        if coding == Coding::Identity {
            return Ok(Some(plain.clone()));
        }
        if let Some(asset) = self.source.find(&path.with_suffix(coding.suffix()))? {
            return Ok(Some(asset));
        }
        let Content::Bytes(bytes) = &plain.content else { return Ok(None) };
        if !compresses_well(path.as_str()) || !compression::fits(bytes.len()) {
            return Ok(None);
        }
        let content = self.compressed(&plain.digest, bytes, coding);
        Ok(content.map(|bytes| Asset { content: Content::Bytes(bytes), ..plain.clone() }))
    }

    fn compressed(&self, digest: &Arc<str>, plain: &Bytes, coding: Coding) -> Option<Bytes> {
        let key = (Arc::clone(digest), coding);
        let remembered = self.compressed.lock().get(&key);
        if let Some(form) = remembered {
            return form;
        }
        let _one_at_a_time = self.compressing.lock();
        let remembered = self.compressed.lock().get(&key);
        if let Some(form) = remembered {
            return form;
        }
        let form = compression::compress(plain, coding);
        self.compressed.lock().put(key, form.clone(), form.as_ref().map_or(0, Bytes::len));
        form
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn select(library: &Library, path: &str, accept: &str) -> Option<Representation> {
        library.select(&AssetPath::parse(path).expect("valid"), Accepted::parse(accept)).expect("readable")
    }

    #[test]
    fn a_file_compressed_in_advance_is_preferred_and_has_its_own_tag() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join("a.js"), "plain").expect("writes");
        fs::write(dir.path().join("a.js.br"), "ready").expect("writes");
        let library = Library::open(Some(&dir.path().to_owned())).expect("opens");
        let ready = select(&library, "/a.js", "br, gzip").expect("there");
        assert_eq!(ready.coding, Coding::Brotli);
        assert!(matches!(&ready.content, Content::Bytes(bytes) if bytes == "ready"));
        assert_eq!(ready.content_type, "text/javascript; charset=utf-8");
        let plain = select(&library, "/a.js", "gzip").expect("there");
        assert_eq!(plain.coding, Coding::Identity, "five bytes are not worth compressing");
        assert_ne!(plain.etag, ready.etag);
    }

    #[test]
    fn text_is_compressed_once_and_remembered() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join("a.js"), "let x = 1;\n".repeat(200)).expect("writes");
        fs::write(dir.path().join("a.png"), "let x = 1;\n".repeat(200)).expect("writes");
        let library = Library::open(Some(&dir.path().to_owned())).expect("opens");
        let pointer = |representation: Representation| match representation.content {
            Content::Bytes(bytes) => bytes.as_ptr(),
            Content::File(..) => panic!("a small file is in memory"),
        };
        let first = select(&library, "/a.js", "br").expect("there");
        assert_eq!(first.coding, Coding::Brotli);
        assert_eq!(pointer(first), pointer(select(&library, "/a.js", "br").expect("there")));
        assert_eq!(select(&library, "/a.js", "gzip").expect("there").coding, Coding::Gzip);
        assert_eq!(select(&library, "/a.png", "gzip").expect("there").coding, Coding::Identity);
    }
}
