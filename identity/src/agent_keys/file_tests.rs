use std::{fs, os::unix::fs::PermissionsExt, time::UNIX_EPOCH};

use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn new(name: &str) -> NewKey {
    NewKey { name: name.into(), scopes: Scopes::everything(), expires_at: None }
}

fn bench() -> (tempfile::TempDir, KeyFile) {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::in_folder(folder.path().join("data"));
    (folder, file)
}

#[test]
fn the_file_holds_hashes_and_is_the_owners() {
    let (_folder, file) = bench();
    assert!(file.list(at(0)).unwrap().is_empty());
    let text = file.create(&new("runtime-1"), at(0)).unwrap();
    let content = fs::read_to_string(file.path()).unwrap();
    let chance = text.reveal().rsplit('_').next().unwrap();
    assert!(content.contains("runtime-1") && !content.contains(chance), "{content}");
    assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(file.path().parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    let left: Vec<_> = fs::read_dir(file.path().parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "no drafts are left: {left:?}");
}

#[test]
fn a_file_that_others_can_read_is_not_trusted() {
    let (_folder, file) = bench();
    file.create(&new("runtime-1"), at(0)).unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(file.list(at(0)), Err(KeyFileError::Exposed { .. })));
    assert!(matches!(file.create(&new("runtime-2"), at(0)), Err(KeyFileError::Exposed { .. })));
}

#[test]
fn names_are_checked_and_used_once() {
    let (_folder, file) = bench();
    file.create(&new("one"), at(0)).unwrap();
    file.revoke("one", at(1)).unwrap();
    file.revoke("one", at(2)).unwrap();
    assert!(matches!(file.create(&new("one"), at(3)), Err(KeyFileError::Exists(_))));
    assert!(matches!(file.revoke("two", at(3)), Err(KeyFileError::NotFound(_))));
    for name in ["", "A", "a_b", "a b", &"x".repeat(33)] {
        assert!(matches!(file.create(&new(name), at(3)), Err(KeyFileError::BadName)), "{name}");
    }
    let past = NewKey { expires_at: Some(at(3)), ..new("two") };
    assert!(matches!(file.create(&past, at(3)), Err(KeyFileError::ExpiresInPast)));
    let list = file.list(at(4)).unwrap();
    assert_eq!((list.len(), list[0].state, list[0].revoked_at), (1, KeyState::Revoked, Some(at(1))));
}

#[test]
fn damaged_files_are_reported_and_not_changed() {
    let (_folder, file) = bench();
    file.create(&new("one"), at(0)).unwrap();
    let good = fs::read_to_string(file.path()).unwrap();
    for bad in [
        String::new(),
        "{}".into(),
        good.replace("\"version\": 1", "\"version\": 2"),
        good.replace("sha256:", "md5:"),
        good.replace("\"one\"", "\"One\""),
        good.replace("\"anonymous\"", "\"admin\""),
    ] {
        fs::write(file.path(), &bad).unwrap();
        assert!(matches!(file.create(&new("two"), at(0)), Err(KeyFileError::Damaged { .. })), "{bad}");
        assert_eq!(fs::read_to_string(file.path()).unwrap(), bad);
    }
    let mut twice: serde_json::Value = serde_json::from_str(&good).unwrap();
    let first = twice["keys"][0].clone();
    twice["keys"].as_array_mut().unwrap().push(first);
    fs::write(file.path(), twice.to_string()).unwrap();
    assert!(matches!(file.list(at(0)), Err(KeyFileError::Damaged { .. })));
}

#[test]
fn changes_at_the_same_time_are_all_kept() {
    let (_folder, file) = bench();
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let file = file.clone();
            std::thread::spawn(move || file.create(&new(&format!("key-{number}")), at(number)).map(|_| ()))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
    assert_eq!(file.list(at(9)).unwrap().len(), 8);
}

#[test]
fn at_the_bound_the_oldest_ended_key_is_removed() {
    let (_folder, file) = bench();
    file.create(&new("first"), at(0)).unwrap();
    let mut keys = file.read().unwrap();
    let template = keys[0].clone();
    keys.extend((1..MAX_KEYS).map(|number| Record { name: format!("key-{number}"), ..template.clone() }));
    file.write(&Content { version: VERSION, keys }).unwrap();
    assert!(matches!(file.create(&new("last"), at(1)), Err(KeyFileError::Full)));
    file.revoke("key-7", at(2)).unwrap();
    file.create(&new("last"), at(3)).unwrap();
    let list = file.list(at(4)).unwrap();
    assert_eq!(list.len(), MAX_KEYS);
    assert!(list.iter().any(|key| key.name == "last") && !list.iter().any(|key| key.name == "key-7"));
}

#[test]
fn a_lock_that_is_never_given_up_is_an_error_in_time() {
    let (_folder, file) = bench();
    file.create(&new("one"), at(0)).unwrap();
    let held = lock(&file.path().with_file_name(LOCK)).unwrap();
    assert!(matches!(file.revoke("one", at(1)), Err(KeyFileError::Locked)));
    drop(held);
    file.revoke("one", at(1)).unwrap();
}
