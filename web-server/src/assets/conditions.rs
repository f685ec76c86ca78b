//! Conditional and range requests (RFC 9110, sections 13 and 14): which part of a representation
//! must be sent.
//!
//! Pure. Supports single byte ranges. A request for several is answered with everything, as the RFC
//! allows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The headers that decide, as the client sent them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions<'a> {
    /// `If-None-Match`
    pub if_none_match: Option<&'a str>,
    /// `If-Modified-Since`
    pub if_modified_since: Option<&'a str>,
    /// `Range`
    pub range: Option<&'a str>,
    /// `If-Range`
    pub if_range: Option<&'a str>,
}

/// The properties of the representation that would be sent.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// Its strong entity tag, in quotes.
    pub etag: &'a str,
    /// When its file was last changed.
    pub modified: Option<SystemTime>,
    /// Its length in bytes.
    pub length: u64,
}

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyChoice {
    /// 200 with everything.
    Whole,
    /// 304: the client has it.
    NotModified,
    /// 206: the bytes from `first` to `last`, both included.
    Part {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
    },
    /// 416: no byte of the range exists.
    OutOfRange,
}

impl Conditions<'_> {
    /// Decides for one representation.
    pub fn judge(&self, current: Validators<'_>) -> BodyChoice {
        let unchanged = match (self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => any_tag_matches(tags, current.etag),
            (None, Some(since)) => not_modified_since(since, current.modified),
            (None, None) => false,
        };
        if unchanged {
            return BodyChoice::NotModified;
        }
        match self.range {
            Some(range) if self.range_applies(current) => part(range, current.length),
            _ => BodyChoice::Whole,
        }
    }

    /// `If-Range`: a part is useful only to a client that has the rest of the same representation.
    fn range_applies(&self, current: Validators<'_>) -> bool {
        let Some(condition) = self.if_range.map(str::trim) else { return true };
        if condition.starts_with('"') {
            return condition == current.etag;
        }
        // A weak tag or a date; the date must match exactly.
        let claimed = httpdate::parse_http_date(condition).ok();
        claimed.is_some() && claimed == current.modified.map(whole_seconds)
    }
}

/// Weak comparison against each member of the list.
fn any_tag_matches(tags: &str, etag: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn not_modified_since(since: &str, modified: Option<SystemTime>) -> bool {
    match (httpdate::parse_http_date(since), modified) {
        (Ok(since), Some(modified)) => whole_seconds(modified) <= since,
        _ => false,
    }
}

/// HTTP dates have seconds only.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs())
}

fn part(range: &str, length: u64) -> BodyChoice {
    let Some((unit, set)) = range.split_once('=') else { return BodyChoice::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return BodyChoice::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return BodyChoice::Whole };
    let end = length.saturating_sub(1);
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => within(first, last.min(end), length),
        (Some(first), None) if last.is_empty() => within(first, end, length),
        (None, Some(0)) if first.is_empty() => BodyChoice::OutOfRange,
        (None, Some(suffix)) if first.is_empty() => within(length.saturating_sub(suffix), end, length),
        _ => BodyChoice::Whole,
    }
}

fn within(first: u64, last: u64, length: u64) -> BodyChoice {
    if first < length { BodyChoice::Part { first, last } } else { BodyChoice::OutOfRange }
}

/// Digits only. A number too large for a u64 is beyond every file.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAG: &str = "\"abc\"";

    fn current() -> Validators<'static> {
        Validators { etag: TAG, modified: Some(UNIX_EPOCH + Duration::from_millis(1_000_000_500)), length: 100 }
    }

    fn ranged(range: &str) -> BodyChoice {
        Conditions { range: Some(range), ..Conditions::default() }.judge(current())
    }

    #[test]
    fn a_known_tag_is_not_sent_again() {
        let judge = |tags| Conditions { if_none_match: Some(tags), ..Conditions::default() }.judge(current());
        for tags in [TAG, "W/\"abc\"", "\"x\", \"abc\"", "*"] {
            assert_eq!(judge(tags), BodyChoice::NotModified, "{tags}");
        }
        assert_eq!(judge("\"x\""), BodyChoice::Whole);
        assert_eq!(judge("abc"), BodyChoice::Whole);
    }

    #[test]
    fn the_date_counts_only_without_a_tag() {
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(1_000_000));
        let earlier = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(999_999));
        let judge = |conditions: Conditions<'_>| conditions.judge(current());
        let since = |date| Conditions { if_modified_since: Some(date), ..Conditions::default() };
        assert_eq!(judge(since(&date)), BodyChoice::NotModified);
        assert_eq!(judge(since(&earlier)), BodyChoice::Whole);
        assert_eq!(judge(since("yesterday")), BodyChoice::Whole);
        assert_eq!(judge(Conditions { if_none_match: Some("\"x\""), ..since(&date) }), BodyChoice::Whole);
    }

    #[test]
    fn single_ranges_are_cut_to_what_exists() {
        let part = |first, last| BodyChoice::Part { first, last };
        for (range, verdict) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=10-19", part(10, 19)),
            ("bytes=90-", part(90, 99)),
            ("bytes=90-1000", part(90, 99)),
            ("bytes=-10", part(90, 99)),
            ("bytes=-1000", part(0, 99)),
            ("bytes=0-99999999999999999999999", part(0, 99)),
            ("bytes=100-", BodyChoice::OutOfRange),
            ("bytes=-0", BodyChoice::OutOfRange),
            ("bytes=99999999999999999999999-", BodyChoice::OutOfRange),
            ("bytes=19-10", BodyChoice::Whole),
            ("bytes=0-1,5-6", BodyChoice::Whole),
            ("bytes=", BodyChoice::Whole),
            ("bytes=-", BodyChoice::Whole),
            ("bytes=a-b", BodyChoice::Whole),
            ("bytes=+1-5", BodyChoice::Whole),
            ("lines=0-1", BodyChoice::Whole),
        ] {
            assert_eq!(ranged(range), verdict, "{range}");
        }
    }

    #[test]
    fn an_empty_file_has_no_ranges() {
        let empty = Validators { length: 0, ..current() };
        let conditions = Conditions { range: Some("bytes=0-"), ..Conditions::default() };
        assert_eq!(conditions.judge(empty), BodyChoice::OutOfRange);
    }

    #[test]
    fn if_range_guards_the_part() {
        let judge = |condition| {
            Conditions { range: Some("bytes=0-9"), if_range: Some(condition), ..Conditions::default() }.judge(current())
        };
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(1_000_000));
        let later = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(1_000_001));
        assert_eq!(judge(TAG), BodyChoice::Part { first: 0, last: 9 });
        assert_eq!(judge(&date), BodyChoice::Part { first: 0, last: 9 });
        assert_eq!(judge(&later), BodyChoice::Whole);
        assert_eq!(judge("\"x\""), BodyChoice::Whole);
        assert_eq!(judge("W/\"abc\""), BodyChoice::Whole);
    }

    proptest! {
        #[test]
        fn a_part_is_always_inside(range in "bytes=[0-9]{0,4}-[0-9]{0,4}", length in 0_u64..2000) {
            let verdict = Conditions { range: Some(&range), ..Conditions::default() }.judge(Validators { length, ..current() });
            if let BodyChoice::Part { first, last } = verdict {
                prop_assert!(first <= last && last < length);
            }
        }
    }
}
