//! The name of this edge, with which it names clients. It stays the same after a restart, and
//! differs from that of every other edge.

use std::{fs, io, path::Path};

use common::{assertion::NAMED_BY_EDGE, files, id::ClientName};
use uuid::Uuid;

/// The file in the data folder.
const FILE: &str = "edge-name";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeName(String);

impl EdgeName {
    /// Reads the name from a data folder, or makes one there. If the name cannot be stored, it is
    /// valid as long as the process runs, and so is what the broker stores under it.
    pub fn in_folder(folder: &Path) -> Self {
        Self::kept(folder).unwrap_or_else(|error| {
            tracing::warn!(%error, "the edge's name cannot be stored: after a restart, clients without a client name are new");
            Self::fresh()
        })
    }

    fn kept(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) if Uuid::parse_str(text.trim()).is_ok() => return Ok(Self(text.trim().to_owned())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let name = Self::fresh();
        files::make_folder(folder)?;
        files::replace(&path, name.0.as_bytes())?;
        Ok(name)
    }

    fn fresh() -> Self {
        Self(Uuid::new_v4().simple().to_string())
    }

    /// The name of the socket with this seat in its session. A client that reconnects alone gets
    /// the same seat, so the broker recognizes it.
    pub fn of_client(&self, seat: usize) -> Option<ClientName> {
        ClientName::new(&format!("{NAMED_BY_EDGE}{}.{seat}", self.0)).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_name_is_kept_and_one_that_is_damaged_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let name = EdgeName::in_folder(&data);
        assert_eq!(EdgeName::in_folder(&data), name);
        let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o777;
        assert_eq!([mode(&data), mode(&data.join(FILE))], [0o700, 0o600]);
        assert!(name.of_client(0).is_some_and(|client| client.as_str().starts_with(NAMED_BY_EDGE)));
        fs::write(data.join(FILE), "").expect("written");
        let other = EdgeName::in_folder(&data);
        assert_ne!(other, name);
        assert_eq!(EdgeName::in_folder(&data), other);
        assert_ne!(EdgeName::in_folder(&data.join(FILE)), other, "no folder: good for this process only");
    }
}
