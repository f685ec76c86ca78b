//! The key sets that issuers publish.

use identity::tokens::PublishedKeys;

/// A set is read or refused, never larger than its bounds, and no key of it is both used and
/// skipped.
pub fn key_set(data: &[u8]) {
    let Ok(set) = PublishedKeys::parse(data) else { return };
    assert!(!set.keys.is_empty() && set.keys.len() + set.skipped.len() <= 100);
    let json: serde_json::Value = serde_json::from_slice(data).expect("what was read is JSON");
    assert_eq!(json["keys"].as_array().map(Vec::len), Some(set.keys.len() + set.skipped.len()));
}
