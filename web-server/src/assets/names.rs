//! What the name of an asset tells: media type, whether it compresses well, how long it may be
//! cached.
//!
//! Pure.

/// Cached for a year without asking: the name changes with the content.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// Cached, but checked each time; an unchanged file costs a 304.
const REVALIDATE: &str = "no-cache";
/// The shortest part of a name that counts as a hash.
const HASH_LENGTH: usize = 8;

/// The `Content-Type` of an asset.
pub fn content_type(path: &str) -> String {
    if path.ends_with(".map") {
        // Source maps, ECMA-426.
        return "application/json; charset=utf-8".to_owned();
    }
    let media = mime_guess::from_path(path).first_or_octet_stream();
    let media = match media.essence_str() {
        // RFC 9239; the guess depends on the extension otherwise.
        "application/javascript" => "text/javascript",
        media => media,
    };
    if is_text(media) { format!("{media}; charset=utf-8") } else { media.to_owned() }
}

/// Whether compressing an asset with this name is worthwhile.
pub fn compresses_well(path: &str) -> bool {
    let media = mime_guess::from_path(path).first_or_octet_stream();
    is_text(media.essence_str()) || matches!(media.essence_str(), "application/wasm" | "font/ttf" | "font/otf" | "image/x-icon")
}

/// The `Cache-Control` of an asset.
pub fn cache_control(path: &str) -> &'static str {
    if is_hashed(path) { IMMUTABLE } else { REVALIDATE }
}

fn is_text(media: &str) -> bool {
    media.starts_with("text/")
        || media.ends_with("+json")
        || media.ends_with("+xml")
        || matches!(media, "application/javascript" | "application/json" | "application/xml")
}

/// Whether a name contains a hash of its content: `name.3f2a9c1b.js` (webpack, parcel),
/// `name-BxYz12Ab.js` (vite, esbuild).
///
/// A wrong yes would keep a stale file for a year, a wrong no costs a 304. So if in doubt the
/// answer is no: a hash needs a digit and a letter, and is either hexadecimal or exactly eight
/// characters with a capital among them.
fn is_hashed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let name = name.strip_suffix(".map").unwrap_or(name);
    let Some((stem, _extension)) = name.rsplit_once('.') else { return false };
    let Some(start) = stem.rfind(['.', '-']) else { return false };
    let hash = stem.get(start + 1..).unwrap_or_default();
    let has = |test: fn(&u8) -> bool| hash.bytes().any(|byte| test(&byte));
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    let hexadecimal =
        hash.len() >= HASH_LENGTH && hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let short = hash.len() == HASH_LENGTH
        && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && has(u8::is_ascii_uppercase);
    mixed && (hexadecimal || short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_a_charset_and_the_rest_has_none() {
        for (path, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/app.js", "text/javascript; charset=utf-8"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("style.css", "text/css; charset=utf-8"),
            ("icon.svg", "image/svg+xml; charset=utf-8"),
            ("app.js.map", "application/json; charset=utf-8"),
            ("app.webmanifest", "application/manifest+json; charset=utf-8"),
            ("logo.png", "image/png"),
            ("x.wasm", "application/wasm"),
            ("f.woff2", "font/woff2"),
            ("unknown.zzz", "application/octet-stream"),
        ] {
            assert_eq!(content_type(path), expected, "{path}");
        }
    }

    #[test]
    fn only_names_with_a_hash_are_immutable() {
        for hashed in
            ["assets/name.3f2a9c1b.js", "index-BxYz12Ab.js", "app-IMDJWVM5.css", "a.0123456789abcdef0123.js", "n.3f2a9c1b.js.map"]
        {
            assert_eq!(cache_control(hashed), IMMUTABLE, "{hashed}");
        }
        for plain in [
            "index.html",
            "assets/connection.js",
            "chat-state.js",
            "view-settings.js",
            "report-20240101.html",
            "jquery-3.11.2.min.js",
            "view-Level10Panel.js",
            "3f2a9c1b",
            "3f2a9c1b.js",
            "my-version2.js",
        ] {
            assert_eq!(cache_control(plain), REVALIDATE, "{plain}");
        }
    }
}
