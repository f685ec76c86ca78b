//! Kinds that are numbers: durations, sizes, counts, shares, yes or no.

use std::time::Duration;

use bytesize::ByteSize;
use config::ValueKind;

use super::field::{At, Draft, Field, text};

/// A length of time within bounds, inclusive.
pub(in crate::config) struct Span {
    pub min: Duration,
    pub max: Duration,
    pub at: At<Duration>,
}

impl Field for Span {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let text = text(raw)?;
        let value = match text.parse::<u64>() {
            Ok(0) => Duration::ZERO,
            Ok(number) => return Err(format!("it needs a unit, for example `{number}s` or `{number}ms`")),
            Err(_) => humantime::parse_duration(&text).map_err(|error| error.to_string())?,
        };
        if value < self.min || value > self.max {
            return Err("it is out of bounds".into());
        }
        *(self.at)(draft) = value;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        show_duration(*(self.at)(draft))
    }

    fn allowed(&self) -> String {
        format!("a duration from {} to {}", show_duration(self.min), show_duration(self.max))
    }
}

/// A number of bytes within bounds, inclusive.
pub(in crate::config) struct Size {
    pub min: usize,
    pub max: usize,
    pub at: At<usize>,
}

impl Field for Size {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let size: ByteSize = text(raw)?.parse().map_err(|_| "it is not a size".to_owned())?;
        let value = usize::try_from(size.as_u64()).map_err(|_| "it is out of bounds".to_owned())?;
        if value < self.min || value > self.max {
            return Err("it is out of bounds".into());
        }
        *(self.at)(draft) = value;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        show_size(*(self.at)(draft))
    }

    fn allowed(&self) -> String {
        format!("a size from {} to {}", show_size(self.min), show_size(self.max))
    }
}

/// A whole number within bounds, inclusive.
pub(in crate::config) struct Integer {
    pub min: usize,
    pub max: usize,
    pub at: At<usize>,
}

impl Field for Integer {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let value: usize = text(raw)?.replace('_', "").parse().map_err(|_| "it is not a whole number".to_owned())?;
        if value < self.min || value > self.max {
            return Err("it is out of bounds".into());
        }
        *(self.at)(draft) = value;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        (self.at)(draft).to_string()
    }

    fn allowed(&self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }
}

/// A number between 0 and 1.
pub(in crate::config) struct Ratio {
    pub at: At<f64>,
}

impl Field for Ratio {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let value: f64 = text(raw)?.parse().map_err(|_| "it is not a number".to_owned())?;
        if !(0.0..=1.0).contains(&value) {
            return Err("it is out of bounds".into());
        }
        *(self.at)(draft) = value;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        (self.at)(draft).to_string()
    }

    fn allowed(&self) -> String {
        "a number from 0 to 1".into()
    }
}

/// Yes or no.
pub(in crate::config) struct Flag {
    pub at: At<bool>,
}

impl Field for Flag {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        *(self.at)(draft) = match text(raw)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => true,
            "false" | "no" | "off" | "0" => false,
            _ => return Err("it is neither yes nor no".into()),
        };
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        (self.at)(draft).to_string()
    }

    fn allowed(&self) -> String {
        "`true` or `false`".into()
    }
}

/// In the largest unit without a remainder: `30days`, `1min`, `5s`, `250ms`.
pub(in crate::config) fn show_duration(value: Duration) -> String {
    const UNITS: [(u128, &str); 5] = [(86_400_000, "days"), (3_600_000, "h"), (60_000, "min"), (1000, "s"), (1, "ms")];
    let millis = value.as_millis();
    if Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)) != value {
        return humantime::format_duration(value).to_string();
    }
    let unit = UNITS.iter().find(|(size, _)| millis >= *size && millis.is_multiple_of(*size));
    match unit {
        None => "0s".to_owned(),
        Some((86_400_000, _)) if millis == 86_400_000 => "1day".to_owned(),
        Some((size, name)) => format!("{}{name}", millis / size),
    }
}

/// In the largest binary unit without a remainder: `1MiB`, `1536KiB`, `1000`.
pub(in crate::config) fn show_size(bytes: usize) -> String {
    const UNITS: [(usize, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.iter().find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size));
    unit.map_or_else(|| bytes.to_string(), |(size, name)| format!("{}{name}", bytes / size))
}
