//! Requests for the app's files: the path, and the headers that say what a client accepts and has.

use web_server::assets::{Accepted, AssetPath, BodyChoice, Conditions, Validators};

const LENGTH: u64 = 1000;

/// No accepted path leads out of the root or to a hidden file; no answered range lies outside the
/// file; and the codings to try always end with one that every client can read. Of several lines
/// the first is the path.
pub fn assets(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let mut next = || lines.next();
    if let Some(Ok(path)) = next().map(AssetPath::parse) {
        check(path.as_str());
        // Decoded once: the file system must not read the result as another path.
        let joined = std::path::Path::new("/root").join(path.as_str());
        assert!(joined.starts_with("/root") && joined.components().all(|part| part != std::path::Component::ParentDir));
    }
    let header = Accepted::parse(next().unwrap_or_default());
    let ranked: Vec<_> = header.ranked().collect();
    assert!((1..=4).contains(&ranked.len()) && ranked.last().is_some_and(|coding| coding.suffix().is_empty()));
    let conditions = Conditions { if_none_match: next(), if_modified_since: next(), range: next(), if_range: next() };
    for length in [0, 1, LENGTH, u64::MAX] {
        let validators = Validators { etag: "\"5d8c\"", modified: Some(std::time::UNIX_EPOCH), length };
        if let BodyChoice::Part { first, last } = conditions.judge(validators) {
            assert!(first <= last && last < length, "{first}-{last} of {length}");
        }
    }
}

fn check(path: &str) {
    assert!(path.len() <= 1024 && !path.starts_with('/') && !path.chars().any(|letter| letter.is_control() || letter == '\\'));
    for (position, part) in path.split('/').enumerate().filter(|_| !path.is_empty()) {
        let is_known = position == 0 && part == ".well-known";
        assert!(!part.is_empty() && (is_known || !part.starts_with('.')), "{path}");
    }
}
