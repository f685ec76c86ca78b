//! The keys in force, shared by all threads. They are asked at each handshake, and reloaded when
//! the file changes.

use std::time::SystemTime;

use parking_lot::RwLock;

use super::{Changes, ConfiguredKey, Grant, KeyError, KeyFile, KeyFileError, Scopes, table::Table};

/// See the module.
pub struct AgentKeys {
    file: KeyFile,
    table: RwLock<Table>,
}

impl AgentKeys {
    /// Reads the file, and adds the keys of the configuration.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn open(file: KeyFile, configured: &[ConfiguredKey]) -> Result<Self, KeyFileError> {
        let table = Table::new(configured, file.read()?).ok_or(KeyFileError::Random)?;
        Ok(Self { file, table: RwLock::new(table) })
    }

    /// The scopes of a valid key, by its name.
    pub fn scopes_of(&self, name: &str, now: SystemTime) -> Option<Scopes> {
        self.table.read().scopes_of(name, now)
    }

    /// Checks a key and returns what it allows. Takes some microseconds, and no lock that is held
    /// during slow work.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn verify(&self, text: &str, now: SystemTime) -> Result<Grant, KeyError> {
        self.table.read().verify(text, now)
    }

    /// Reads the file again and returns what changed. The caller closes the connections of
    /// [`Changes::to_close`].
    ///
    /// # Errors
    /// See [`KeyFileError`]; the keys in force then stay in force.
    pub fn reload(&self, now: SystemTime) -> Result<Changes, KeyFileError> {
        let records = self.file.read()?;
        Ok(self.table.write().replace(records, now))
    }

    /// Stores when keys were last used, if any was. To be called every few minutes and at the end.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn save_uses(&self) -> Result<(), KeyFileError> {
        let uses = self.table.read().unsaved_uses();
        if uses.is_empty() { Ok(()) } else { self.file.note_use(&uses) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use common::secret::Secret;

    use super::*;
    use crate::agent_keys::NewKey;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn new(name: &str) -> NewKey {
        NewKey { name: name.into(), scopes: Scopes::everything(), expires_at: None }
    }

    fn bench() -> (tempfile::TempDir, KeyFile, AgentKeys) {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::in_folder(folder.path());
        let configured = [("default", "chosen by somebody"), ("second", "abk_like_ours")].map(|(name, key)| ConfiguredKey {
            name: name.into(),
            key: Secret::new(key),
            scopes: Scopes::everything(),
        });
        let keys = AgentKeys::open(file.clone(), &configured).unwrap();
        (folder, file, keys)
    }

    #[test]
    fn a_key_is_good_from_the_reload_after_its_making_to_the_one_after_its_revocation() {
        let (_folder, file, keys) = bench();
        let text = file.create(&new("runtime-1"), at(0)).unwrap();
        let verify = |seconds| keys.verify(text.reveal(), at(seconds)).map(|grant| grant.key.to_string());
        assert_eq!(verify(1), Err(KeyError::Unknown));
        assert_eq!(keys.reload(at(2)).unwrap(), Changes { added: vec!["runtime-1".into()], ..Changes::default() });
        assert_eq!(verify(3), Ok("runtime-1".into()));
        file.revoke("runtime-1", at(4)).unwrap();
        let changes = keys.reload(at(5)).unwrap();
        assert_eq!(changes.to_close().collect::<Vec<_>>(), ["runtime-1"]);
        assert_eq!(verify(6), Err(KeyError::Revoked));
        assert_eq!(keys.reload(at(7)).unwrap(), Changes::default());
    }

    #[test]
    fn a_key_expires_and_says_so_to_its_holder_only() {
        let (_folder, file, keys) = bench();
        let text = file.create(&NewKey { expires_at: Some(at(60)), ..new("short") }, at(0)).unwrap();
        keys.reload(at(0)).unwrap();
        assert_eq!(keys.verify(text.reveal(), at(59)).unwrap().expires_at, Some(at(60)));
        assert_eq!(keys.verify(text.reveal(), at(60)).err(), Some(KeyError::Expired));
        let forged = format!("abk_short_{}", "x".repeat(43));
        assert_eq!(keys.verify(&forged, at(60)).err(), Some(KeyError::Unknown));
        assert_eq!(keys.reload(at(61)).unwrap().ended, ["short"], "connections that outlived it are closed");
        assert_eq!(keys.reload(at(62)).unwrap(), Changes::default(), "said once");
    }

    #[test]
    fn keys_of_the_configuration_go_on_beside_those_of_the_file() {
        let (_folder, _, keys) = bench();
        let name = |text: &str| keys.verify(text, at(0)).map(|grant| grant.key.to_string());
        assert_eq!(name("chosen by somebody"), Ok("default".into()));
        assert_eq!(name("abk_like_ours"), Ok("second".into()));
        for wrong in ["", "chosen by somebody ", "chosen", &"x".repeat(5000)] {
            assert_eq!(name(wrong), Err(KeyError::Unknown), "{wrong}");
        }
        keys.reload(at(1)).unwrap();
        assert_eq!(name("chosen by somebody"), Ok("default".into()));
    }

    #[test]
    fn the_last_use_is_kept_across_reloads_and_restarts() {
        let (_folder, file, keys) = bench();
        let text = file.create(&new("runtime-1"), at(0)).unwrap();
        keys.reload(at(0)).unwrap();
        keys.save_uses().unwrap();
        assert_eq!(file.list(at(0)).unwrap()[0].last_used_at, None);
        keys.verify(text.reveal(), at(10)).unwrap();
        keys.reload(at(11)).unwrap();
        keys.save_uses().unwrap();
        assert_eq!(file.list(at(12)).unwrap()[0].last_used_at, Some(at(10)));
        let reopened = AgentKeys::open(file.clone(), &[]).unwrap();
        reopened.save_uses().unwrap();
        reopened.verify(text.reveal(), at(5)).unwrap();
        reopened.save_uses().unwrap();
        assert_eq!(file.list(at(12)).unwrap()[0].last_used_at, Some(at(10)), "a clock set back changes nothing");
    }

    #[test]
    fn a_changed_scope_and_a_removed_key_are_told() {
        let (folder, file, keys) = bench();
        let text = file.create(&new("one"), at(0)).unwrap();
        file.create(&new("two"), at(0)).unwrap();
        keys.reload(at(0)).unwrap();
        let path = folder.path().join("agent-keys.json");
        let mut content: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        content["keys"][0]["scopes"]["topics"] = serde_json::json!(["room/*"]);
        content["keys"].as_array_mut().unwrap().remove(1);
        std::fs::write(&path, content.to_string()).unwrap();
        let changes = keys.reload(at(1)).unwrap();
        assert_eq!(changes, Changes { added: vec![], ended: vec!["two".into()], changed: vec!["one".into()] });
        std::fs::write(&path, "{").unwrap();
        assert!(keys.reload(at(2)).is_err());
        assert!(keys.verify(text.reveal(), at(3)).is_ok(), "what is in force stays");
    }
}
