//! Which file a store was written in, so that a copy in its place is recognised.
//!
//! Whoever puts an older copy of a data folder in place of the present one takes back what was
//! confirmed since, and the store would give the same numbers again to other messages. A store
//! keeps the identity of its file in the file. A copy has another one. What has the same identity
//! cannot be told apart: a file whose content was overwritten in place, and a whole disk or volume
//! that was set back. A file that was moved within its file system is no copy.

use std::{fmt, fs, io, os::unix::fs::MetadataExt, path::Path, str::FromStr, time::UNIX_EPOCH};

/// File systems that may number their files anew each time they are mounted: FUSE, CIFS, SMB, SMB2,
/// 9P.
const UNSTABLE: [u32; 5] = [0x6573_5546, 0xff53_4d42, 0x517b, 0xfe53_4d42, 0x0102_1997];

/// The number of a file in its file system, and when it was made, in nanoseconds since 1970, where
/// the file system tells. Not the number of the device: that may change with each start of a
/// machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    inode: u64,
    born: Option<u64>,
}

impl FileIdentity {
    /// That of a file; `None` if its file system has no lasting identities.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn of(path: &Path) -> io::Result<Option<Self>> {
        let found = fs::metadata(path)?;
        let kind = rustix::fs::statfs(path)?.f_type;
        // The type of `f_type` differs between platforms; its lower half is what is compared.
        if UNSTABLE.contains(&(kind as u32)) {
            return Ok(None);
        }
        let born = found.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Ok(Some(Self { inode: found.ino(), born: born.and_then(|since| u64::try_from(since.as_nanos()).ok()) }))
    }

    /// Whether both are of one file, as far as can be known.
    pub(crate) fn is_same_as(self, other: Self) -> bool {
        let is_same_birth = self.born.zip(other.born).is_none_or(|(one, other)| one == other);
        self.inode == other.inode && is_same_birth
    }
}

/// The stored form.
impl fmt::Display for FileIdentity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.inode, self.born.unwrap_or(0))
    }
}

/// The text is no stored form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoIdentity;

impl FromStr for FileIdentity {
    type Err = NoIdentity;

    fn from_str(text: &str) -> Result<Self, NoIdentity> {
        let (inode, born) = text.split_once(' ').ok_or(NoIdentity)?;
        let born: u64 = born.parse().map_err(|_| NoIdentity)?;
        Ok(Self { inode: inode.parse().map_err(|_| NoIdentity)?, born: Some(born).filter(|born| *born != 0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_file_is_the_same_and_a_copy_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let [here, there, copy] = ["here", "there", "copy"].map(|name| dir.path().join(name));
        fs::write(&here, "content").expect("written");
        let of = |path: &Path| FileIdentity::of(path).expect("it is there").expect("a local file system");
        let before = of(&here);
        fs::copy(&here, &copy).expect("copied");
        fs::rename(&here, &there).expect("moved");
        assert!(before.is_same_as(of(&there)) && !before.is_same_as(of(&copy)));
        // In its place, whatever number it gets.
        fs::remove_file(&there).expect("removed");
        fs::copy(&copy, &there).expect("copied back");
        assert!(!before.is_same_as(of(&there)) || before.born.is_none());
        assert_eq!(before.to_string().parse(), Ok(before));
        assert_eq!("".parse::<FileIdentity>(), Err(NoIdentity));
    }

    #[test]
    fn without_a_time_of_birth_the_number_decides() {
        let known = FileIdentity { inode: 7, born: Some(1) };
        assert!(known.is_same_as(FileIdentity { inode: 7, born: None }));
        assert!(!known.is_same_as(FileIdentity { inode: 7, born: Some(2) }));
        assert!(!known.is_same_as(FileIdentity { inode: 8, born: None }));
    }
}
