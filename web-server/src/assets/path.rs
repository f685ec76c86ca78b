//! Request paths as names of assets: an [`AssetPath`] cannot leave its root.
//!
//! Pure. It decodes once, so that an encoded `%25` stays a literal percent sign, and refuses bad
//! paths instead of repairing them.

use percent_encoding::percent_decode_str;

/// The longest decoded path in bytes.
const MAX_PATH: usize = 1024;
/// The one folder whose name may begin with a dot (RFC 8615).
const WELL_KNOWN: &str = ".well-known";
/// The app's page.
const INDEX: &str = "index.html";

/// Why a path names no asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// Bad encoding, control characters, backslashes, or segments that climb.
    #[error("the path is malformed")]
    Malformed,
    /// A hidden file or folder, or an empty segment: never served, and the app's page is not served
    /// in its place.
    #[error("the path names no file that is served")]
    Hidden,
}

/// A relative path inside the root: `assets/app.js`. Empty for the root itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AssetPath(String);

impl AssetPath {
    /// Checks the path of a request as received: percent-encoded, without the query.
    ///
    /// # Errors
    /// [`PathFault`]; the caller decides on the status.
    pub fn parse(raw: &str) -> Result<Self, PathFault> {
        if !escapes_are_whole(raw) {
            return Err(PathFault::Malformed);
        }
        let decoded = percent_decode_str(raw).decode_utf8().map_err(|_| PathFault::Malformed)?;
        let path = decoded.strip_prefix('/').unwrap_or(&decoded);
        if path.len() > MAX_PATH || path.chars().any(|letter| letter.is_control() || letter == '\\') {
            return Err(PathFault::Malformed);
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            return Ok(Self(String::new()));
        }
        for (position, segment) in path.split('/').enumerate() {
            match segment {
                "." | ".." => return Err(PathFault::Malformed),
                "" => return Err(PathFault::Hidden),
                WELL_KNOWN if position == 0 => {}
                _ if segment.starts_with('.') => return Err(PathFault::Hidden),
                _ => {}
            }
        }
        Ok(Self(path.to_owned()))
    }

    /// The app's page.
    pub fn index() -> Self {
        Self(INDEX.to_owned())
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same path with a suffix, such as `.br`.
    pub fn with_suffix(&self, suffix: &str) -> Self {
        Self(format!("{}{suffix}", self.0))
    }

    /// Whether the last segment has an extension: then it is a file's name, not a route of the app.
    pub fn has_extension(&self) -> bool {
        let name = self.0.rsplit('/').next().unwrap_or_default();
        name.contains('.')
    }
}

/// Whether every `%` begins two hexadecimal digits.
fn escapes_are_whole(raw: &str) -> bool {
    raw.split('%').skip(1).all(|rest| {
        let mut digits = rest.bytes();
        digits.next().is_some_and(|byte| byte.is_ascii_hexdigit()) && digits.next().is_some_and(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_paths_are_taken_and_decoded() {
        for (raw, path) in [
            ("/", ""),
            ("", ""),
            ("/index.html", "index.html"),
            ("/assets/a%20b.js", "assets/a b.js"),
            ("/agents/planner/", "agents/planner"),
            ("/.well-known/security.txt", ".well-known/security.txt"),
            ("/100%25.txt", "100%.txt"),
            ("/%252e%252e/x", "%2e%2e/x"),
        ] {
            assert_eq!(AssetPath::parse(raw), Ok(AssetPath(path.to_owned())), "{raw}");
        }
    }

    #[test]
    fn climbing_and_hidden_paths_are_refused() {
        use PathFault::{Hidden, Malformed};
        for (raw, fault) in [
            ("/../etc/passwd", Malformed),
            ("/a/../../b", Malformed),
            ("/%2e%2e/etc/passwd", Malformed),
            ("/..%2fetc/passwd", Malformed),
            ("/a/./b", Malformed),
            ("/..%5cetc", Malformed),
            ("/a\\b", Malformed),
            ("/a%00.js", Malformed),
            ("/a%0ab", Malformed),
            ("/%zz", Malformed),
            ("/%2", Malformed),
            ("/%ff", Malformed),
            ("/.env", Hidden),
            ("/.git/config", Hidden),
            ("/a/.well-known/x", Hidden),
            ("//etc/passwd", Hidden),
            ("/a//b", Hidden),
        ] {
            assert_eq!(AssetPath::parse(raw), Err(fault), "{raw}");
        }
        assert_eq!(AssetPath::parse(&format!("/{}", "x".repeat(1025))), Err(Malformed));
    }

    #[test]
    fn a_dot_in_the_last_segment_makes_it_a_file() {
        let path = |raw| AssetPath::parse(raw).expect("valid");
        assert!(path("/assets/app.js").has_extension());
        assert!(!path("/v1.2/agents").has_extension());
        assert!(!path("/").has_extension());
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_stays_inside(raw in "(/|%2e|%2f|\\.|%5c|a|%00|%25){0,24}") {
            if let Ok(path) = AssetPath::parse(&raw) {
                prop_assert!(!path.as_str().starts_with('/'));
                prop_assert!(path.as_str().split('/').all(|segment| segment != ".." && segment != "."));
            }
        }
    }
}
