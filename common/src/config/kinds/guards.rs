//! Kinds that bound strangers: rates and networks.

use config::ValueKind;

use super::{
    field::{At, Draft, Field, items, text},
    numbers::show_size,
};
use crate::{network::Network, rate::Rate};

/// A rate per second with a burst: `per second:burst`, or 0 for no limit.
pub(in crate::config) struct PerSecond {
    /// Bytes, which may be written as sizes.
    pub is_size: bool,
    pub at: At<Rate>,
}

impl PerSecond {
    fn number(&self, text: &str) -> Option<u64> {
        let text = text.trim();
        if self.is_size { text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64()) } else { text.parse().ok() }
    }

    fn write(&self, number: u64) -> String {
        usize::try_from(number).ok().filter(|_| self.is_size).map_or_else(|| number.to_string(), show_size)
    }
}

impl Field for PerSecond {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let text = text(raw)?;
        let rate = match text.split_once(':') {
            None if text == "0" => Some(Rate::UNLIMITED),
            None => None,
            Some((rate, burst)) => self
                .number(rate)
                .zip(self.number(burst))
                .filter(|(rate, burst)| *rate > 0 && burst >= rate)
                .map(|(rate, burst)| Rate::new(rate, burst)),
        };
        *(self.at)(draft) =
            rate.ok_or("it is not `per second:burst` with a burst of at least one second's worth, nor 0 for no limit")?;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        let rate = *(self.at)(draft);
        if rate.is_unlimited() {
            return "0".to_owned();
        }
        format!("{}:{}", self.write(rate.per_second()), self.write(rate.burst()))
    }

    fn allowed(&self) -> String {
        let kind = if self.is_size { "sizes" } else { "whole numbers" };
        format!("`per second:burst` ({kind}), or 0 for no limit")
    }
}

/// A list of networks.
pub(in crate::config) struct Networks {
    pub at: At<Vec<Network>>,
}

impl Field for Networks {
    fn apply(&self, draft: &mut Draft, raw: &ValueKind) -> Result<(), String> {
        let parse = |item: String| item.parse::<Network>().map_err(|error| format!("`{item}` {error}"));
        *(self.at)(draft) = items(raw)?.into_iter().map(parse).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn show(&self, draft: &mut Draft) -> String {
        let networks: Vec<_> = (self.at)(draft).iter().map(Network::to_string).collect();
        networks.join(",")
    }

    fn allowed(&self) -> String {
        "a list (with commas between, or a TOML array) of addresses and networks such as `10.0.0.0/8`".into()
    }

    fn is_list(&self) -> bool {
        true
    }
}
