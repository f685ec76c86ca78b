//! Assets from a folder.
//!
//! It reads the disk at each request, so that a changed file is served at once. It remembers
//! unchanged files: small ones as a whole, of large ones the digest. What it remembers is bounded.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    asset::{Asset, Content, digest},
    cache::BoundedCache,
    path::AssetPath,
};

/// Larger files are not held in memory; they are read while they are sent.
const SMALL: u64 = 2 * 1024 * 1024;
/// The bound of everything remembered, in bytes.
const REMEMBERED: usize = 32 * 1024 * 1024;

/// See the module.
pub struct Folder {
    root: PathBuf,
    known: Mutex<BoundedCache<(PathBuf, Stamp), Known>>,
}

/// Identifies one state of a file.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Stamp {
    modified: Option<SystemTime>,
    changed: (i64, i64),
    length: u64,
    inode: u64,
}

#[derive(Clone)]
struct Known {
    digest: Arc<str>,
    bytes: Option<Bytes>,
}

impl Folder {
    /// Opens the folder.
    ///
    /// # Errors
    /// It does not exist, or is not a folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let root = path.canonicalize()?;
        if !root.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { root, known: Mutex::new(BoundedCache::new(REMEMBERED)) })
    }

    /// The file of this name inside the folder. A link that leads out of the folder is no file.
    ///
    /// # Errors
    /// It exists and cannot be read.
    pub fn find(&self, path: &AssetPath) -> io::Result<Option<Asset>> {
        let Some(place) = self.place(path) else { return Ok(None) };
        let mut file = File::open(&place)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let stamp = Stamp {
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
            inode: metadata.ino(),
        };
        let length = stamp.length;
        let modified = stamp.modified;
        let key = (place, stamp);
        let remembered = self.known.lock().get(&key);
        let known = match remembered {
            Some(known) => known,
            None => {
                let known = read(&mut file, length)?;
                let cost = known.bytes.as_ref().map_or(0, Bytes::len);
                self.known.lock().put(key, known.clone(), cost);
                known
            }
        };
        let content = match known.bytes {
            Some(bytes) => Content::Bytes(bytes),
            None => Content::File(Arc::new(file), length),
        };
        Ok(Some(Asset { content, digest: known.digest, modified }))
    }

    /// The real path of the file, if that is inside the folder and a file.
    fn place(&self, path: &AssetPath) -> Option<PathBuf> {
        let place = self.root.join(path.as_str()).canonicalize().ok()?;
        let inside = place.starts_with(&self.root) && fs::metadata(&place).is_ok_and(|metadata| metadata.is_file());
        inside.then_some(place)
    }
}

fn read(file: &mut File, length: u64) -> io::Result<Known> {
    if length > SMALL {
        return Ok(Known { digest: digest(file)?, bytes: None });
    }
    let mut bytes = Vec::new();
    file.take(SMALL).read_to_end(&mut bytes)?;
    Ok(Known { digest: digest(&bytes[..])?, bytes: Some(bytes.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(folder: &Folder, path: &str) -> Option<Asset> {
        folder.find(&AssetPath::parse(path).expect("valid")).expect("readable")
    }

    fn bytes(asset: Asset) -> Bytes {
        match asset.content {
            Content::Bytes(bytes) => bytes,
            Content::File(..) => panic!("a small file is in memory"),
        }
    }

    #[test]
    fn a_changed_file_is_served_at_once() {
        let dir = tempfile::tempdir().expect("temp dir");
        let folder = Folder::open(dir.path()).expect("opens");
        let file = dir.path().join("a.txt");
        fs::write(&file, "one").expect("writes");
        let first = find(&folder, "/a.txt").expect("there");
        fs::write(&file, "two").expect("writes");
        let second = find(&folder, "/a.txt").expect("there");
        assert_ne!(first.digest, second.digest);
        assert_eq!(bytes(second), "two");
    }

    #[test]
    fn links_may_not_lead_out_of_the_folder() {
        let outside = tempfile::tempdir().expect("temp dir");
        fs::write(outside.path().join("secret.txt"), "secret").expect("writes");
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join("in.txt"), "in").expect("writes");
        let link = |from: &Path, to: &str| std::os::unix::fs::symlink(from, dir.path().join(to)).expect("links");
        link(&outside.path().join("secret.txt"), "out.txt");
        link(outside.path(), "out");
        link(Path::new("in.txt"), "alias.txt");
        let folder = Folder::open(dir.path()).expect("opens");
        assert!(find(&folder, "/out.txt").is_none());
        assert!(find(&folder, "/out/secret.txt").is_none());
        assert_eq!(bytes(find(&folder, "/alias.txt").expect("there")), "in");
    }

    #[test]
    fn folders_and_missing_files_are_nothing() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::create_dir(dir.path().join("assets")).expect("creates");
        let folder = Folder::open(dir.path()).expect("opens");
        for path in ["/assets", "/", "/assets/no.js", "/no/such/thing"] {
            assert!(find(&folder, path).is_none(), "{path}");
        }
        assert!(Folder::open(&dir.path().join("absent")).is_err());
    }

    #[test]
    fn a_large_file_stays_on_disk() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join("big.bin"), vec![7; SMALL as usize + 1]).expect("writes");
        let folder = Folder::open(dir.path()).expect("opens");
        let asset = find(&folder, "/big.bin").expect("there");
        assert!(matches!(asset.content, Content::File(_, length) if length == SMALL + 1));
        assert_eq!(asset.digest, find(&folder, "/big.bin").expect("there").digest);
    }
}
