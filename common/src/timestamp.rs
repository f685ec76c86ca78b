//! RFC 3339 timestamps in UTC with milliseconds, as the envelope carries them.

use std::{
    cell::RefCell,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// A formatted timestamp: `2026-01-01T12:00:00.000Z`.
pub type Timestamp = [u8; 24];

thread_local! {
    /// The last second that was formatted on this thread. Formatting a date is slow, formatting
    /// milliseconds is not.
    static SECOND: RefCell<(u64, Timestamp)> = const { RefCell::new((u64::MAX, *b"1970-01-01T00:00:00.000Z")) };
}

/// The present time.
pub fn now() -> Timestamp {
    format(SystemTime::now())
}

/// The present time, in milliseconds since 1970.
pub fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(since_epoch)
}

/// A duration in whole milliseconds; one that is too long for the type is the longest.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Formats a time. A time before 1970 or after 9999 becomes 1970.
pub fn format(time: SystemTime) -> Timestamp {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = since_epoch.subsec_millis();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != since_epoch.as_secs() {
            *text = whole_second(since_epoch.as_secs());
            *second = since_epoch.as_secs();
        }
        let mut stamp = *text;
        for (place, divisor) in [(20, 100), (21, 10), (22, 1)] {
            stamp[place] = b'0' + u8::try_from(millis / divisor % 10).unwrap_or(0);
        }
        stamp
    })
}

/// Formats a time as a string, see [`format()`].
pub fn text(time: SystemTime) -> String {
    String::from_utf8_lossy(&format(time)).into_owned()
}

/// Formats a time in milliseconds since 1970.
pub fn format_ms(ms: u64) -> String {
    text(UNIX_EPOCH + Duration::from_millis(ms))
}

/// A time in whole seconds since 1970; one before 1970 becomes 1970.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// The time so many seconds after 1970. 1970 if the system cannot represent it.
pub fn from_unix_seconds(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

/// Parses an RFC 3339 time into milliseconds since 1970. `None` if it is invalid or before 1970.
pub fn parse_ms(text: &str) -> Option<u64> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()
}

/// The present time as a string.
pub fn now_string() -> String {
    text(SystemTime::now())
}

fn whole_second(seconds: u64) -> Timestamp {
    let layout = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].000Z");
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|moment| moment.format(layout).ok())
        .and_then(|text| Timestamp::try_from(text.into_bytes()).ok())
        .unwrap_or(*b"1970-01-01T00:00:00.000Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_utc() {
        let time = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        assert_eq!(&format(time(0)), b"1970-01-01T00:00:00.000Z");
        assert_eq!(&format(time(1_767_268_800_007)), b"2026-01-01T12:00:00.007Z");
        assert_eq!(&format(time(1_767_268_800_987)), b"2026-01-01T12:00:00.987Z");
        assert_eq!(&format(time(1_767_268_801_000)), b"2026-01-01T12:00:01.000Z");
        assert_eq!(text(time(7)), format_ms(7));
    }

    #[test]
    fn seconds_since_1970_have_no_end_and_no_beginning_before_it() {
        let time = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!((unix_seconds(time(9) + Duration::from_millis(999)), from_unix_seconds(9)), (9, time(9)));
        assert_eq!((unix_seconds(UNIX_EPOCH - Duration::from_secs(1)), from_unix_seconds(u64::MAX)), (0, UNIX_EPOCH));
    }
}
