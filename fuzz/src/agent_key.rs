//! The keys that agents present.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common::secret::Secret;
use identity::agent_keys::{AgentKeys, ConfiguredKey, KeyError, KeyFile, NewKey, Scopes};

use super::pieces::replaced;

const CONFIGURED: &str = "a-key-that-somebody-chose-and-configured";

struct Keys {
    keys: AgentKeys,
    now: SystemTime,
    active: Vec<String>,
    revoked: String,
    expired: String,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let now = UNIX_EPOCH + Duration::from_secs(1_767_268_800);
    let folder = std::env::temp_dir().join(format!("bridge-fuzz-{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = KeyFile::in_folder(&folder);
    let make = |name: &str, expires_at| {
        let new = NewKey { name: name.to_owned(), scopes: Scopes::everything(), expires_at };
        file.create(&new, now - Duration::from_secs(60)).expect("made").reveal().to_owned()
    };
    let (made, revoked, expired) = (make("team", None), make("gone", None), make("late", Some(now - Duration::from_secs(1))));
    file.revoke("gone", now).expect("revoked");
    let configured = [ConfiguredKey { name: "own".to_owned(), key: Secret::new(CONFIGURED), scopes: Scopes::everything() }];
    let keys = AgentKeys::open(file, &configured).expect("read");
    std::fs::remove_dir_all(&folder).expect("removed");
    Keys { keys, now, active: vec![made, CONFIGURED.to_owned()], revoked, expired }
});

/// Only a whole key opens anything, and only its holder hears of it: neither the bytes as they are,
/// nor keys of which they replace a part.
pub fn agent_key(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        try_key(text);
    }
    let Keys { active, revoked, expired, .. } = &*KEYS;
    for changed in active.iter().chain([revoked, expired]).filter_map(|key| replaced(key, data)) {
        try_key(&changed);
    }
}

fn try_key(text: &str) {
    let Keys { keys, now, active, revoked, expired } = &*KEYS;
    match keys.verify(text, *now) {
        Ok(_) => assert!(active.iter().any(|key| key == text), "no key: {text}"),
        Err(KeyError::Revoked) => assert_eq!(text, revoked),
        Err(KeyError::Expired) => assert_eq!(text, expired),
        Err(KeyError::Unknown) => {
            assert!(![revoked, expired].contains(&&text.to_owned()) && !active.iter().any(|key| key == text));
        }
    }
}
