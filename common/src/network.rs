//! Networks of IP addresses, and the part of an address that identifies one customer.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// Addresses with a common prefix: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// The text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an address or a network such as 10.0.0.0/8, or has bits set behind its prefix")]
pub struct BadNetwork;

impl Network {
    /// The addresses of the machine itself.
    pub fn this_machine() -> Vec<Self> {
        let loopback = |address: IpAddr, bits| Self { address, bits };
        vec![loopback(IpAddr::from([127, 0, 0, 0]), 8), loopback(IpAddr::V6(Ipv6Addr::LOCALHOST), 128)]
    }

    /// Whether it contains an address. IPv4 addresses written as IPv6 count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.bits) == self.address
    }
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0)).into()),
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

impl FromStr for Network {
    type Err = BadNetwork;
    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| BadNetwork)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => longest,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().map_err(|_| BadNetwork)?,
            Some(_) => return Err(BadNetwork),
        };
        // ::ffff:0:0/96 and narrower would never match, because such addresses count as IPv4.
        let is_mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        if bits <= longest && masked(address, bits) == address && !is_mapped {
            Ok(Self { address, bits })
        } else {
            Err(BadNetwork)
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.bits)
    }
}

/// The part that counts as one customer: an IPv4 address, or the first 64 bits of an IPv6 address,
/// since one customer has all addresses with the same 64 bits.
pub fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v6 @ IpAddr::V6(_) => masked(v6, 64),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The customer to whom an address is counted. `None` if it is exempt.
pub fn counted(address: IpAddr, exempt: &[Network]) -> Option<IpAddr> {
    let is_exempt = exempt.iter().any(|network| network.contains(address));
    (!is_exempt).then(|| customer(address))
}

/// Whether `host[:port]` is `localhost` or a loopback address. No other name is: its owner decides
/// what it resolves to.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn networks_are_exact() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::", "2001:db9::"),
            ("::1", "::1", "::2"),
        ] {
            let network: Network = text.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{text}");
            assert!(!network.contains(outside.parse().unwrap()), "{text}");
        }
        for bad in [
            "",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::/129",
            "localhost",
            "::ffff:10.0.0.0/104",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(bad.parse::<Network>(), Err(BadNetwork), "{bad}");
        }
    }

    #[test]
    fn a_customer_has_one_ipv4_address_or_64_bits() {
        let customer = |text: &str| super::customer(text.parse().expect("an address")).to_string();
        assert_eq!(customer("192.0.2.1"), "192.0.2.1");
        assert_eq!(customer("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(customer("2001:db8:0:1:ffff::1"), "2001:db8:0:1::");
    }

    proptest! {
        #[test]
        fn no_text_makes_a_network_panic(text in "[0-9a-f.:/+ ]{0,30}") {
            if let Ok(network) = text.parse::<Network>() {
                prop_assert_eq!(network.to_string().parse(), Ok(network));
            }
        }
    }

    #[test]
    fn names_and_addresses_of_this_machine() {
        for host in ["localhost", "LOCALHOST:8081", "127.0.0.1:8081", "[::1]:8081", "[::1]", "127.9.9.9", "[::ffff:127.0.0.1]:1"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "example.org", "10.0.0.1:8081", "127.evil.example", "localhost.evil.example:80", "[2001:db8::1]:1", "::"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
