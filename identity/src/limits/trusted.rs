//! The client's address behind proxies.
//!
//! Headers are believed only as far as trusted proxies wrote them: from the connection backwards, each hop that is a trusted
//! proxy vouches for the one before it. The first that is not trusted is the client; what stands before it, the client may
//! have made up. One header is configured, since proxies pass the other one on as the client sent it.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use super::{ForwardedNode, forwarded, forwarded_for};

/// Addresses with a common beginning: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an address or a network such as 10.0.0.0/8, or has bits set behind its prefix")]
pub struct BadNetwork;

impl Network {
    /// Whether an address is in it. IPv4 addresses written as IPv6 count as IPv4.
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
        // ::ffff:0:0/96 and narrower would never match, as such addresses are taken for IPv4.
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

/// The header in which the trusted proxies say for whom they ask. Each of them must set or extend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressHeader {
    /// RFC 7239.
    Forwarded,
    /// The customary one.
    XForwardedFor,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    header: AddressHeader,
}

impl TrustedProxies {
    /// These proxies, which use this header. None: no header is ever looked at.
    pub fn new(networks: Vec<Network>, header: AddressHeader) -> Self {
        Self { networks, header }
    }

    /// Whether this is the address of a trusted proxy.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// The header's name, in lower case.
    pub fn header_name(&self) -> &'static str {
        match self.header {
            AddressHeader::Forwarded => "forwarded",
            AddressHeader::XForwardedFor => "x-forwarded-for",
        }
    }

    /// The client's address. `peer` is the other end of the connection (or what the PROXY protocol said, from a trusted one),
    /// `values` those of all headers of [`header_name`](Self::header_name) in their order.
    ///
    /// Where a trusted proxy hides the address or the header is malformed, it is the address of the last hop that is known.
    pub fn client(&self, peer: IpAddr, values: &[&str]) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.contains(peer) || values.is_empty() {
            return peer;
        }
        let hops = match self.header {
            AddressHeader::XForwardedFor => Some(forwarded_for(values)),
            AddressHeader::Forwarded => forwarded(values)
                .map(|elements| elements.into_iter().map(|element| element.node.unwrap_or(ForwardedNode::Hidden)).collect()),
        };
        let mut client = peer;
        for hop in hops.unwrap_or_default().into_iter().rev() {
            let ForwardedNode::Address(address) = hop else { return client };
            client = address;
            if !self.contains(address) {
                return client;
            }
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxies(header: AddressHeader) -> TrustedProxies {
        TrustedProxies::new(["10.0.0.0/8", "2001:db8:1::/48"].map(|network| network.parse().unwrap()).into(), header)
    }

    fn client(peer: &str, values: &[&str]) -> String {
        proxies(AddressHeader::XForwardedFor).client(peer.parse().unwrap(), values).to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        assert_eq!(client("203.0.113.7", &["1.2.3.4"]), "203.0.113.7");
        assert_eq!(client("203.0.113.7", &["10.0.0.1"]), "203.0.113.7");
        assert_eq!(client("::ffff:203.0.113.7", &["1.2.3.4"]), "203.0.113.7");
        let none = TrustedProxies::new(vec![], AddressHeader::Forwarded);
        assert_eq!(none.client("10.0.0.1".parse().unwrap(), &["for=1.2.3.4"]).to_string(), "10.0.0.1");
    }

    #[test]
    fn the_client_is_the_last_hop_that_no_trusted_proxy_is() {
        assert_eq!(client("10.0.0.1", &["203.0.113.7"]), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 203.0.113.7, 10.0.0.2"]), "203.0.113.7", "what it made up does not count");
        assert_eq!(client("2001:db8:1::5", &["1.1.1.1", "203.0.113.7"]), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3", "all trusted: the farthest");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_cannot_be_read_stops_at_the_hop_that_is_known() {
        assert_eq!(client("10.0.0.1", &["203.0.113.7, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &["<script>"]), "10.0.0.1");
        let proxies = proxies(AddressHeader::Forwarded);
        let peer = "10.0.0.1".parse().unwrap();
        assert_eq!(proxies.client(peer, &["for=203.0.113.7;proto=https"]).to_string(), "203.0.113.7");
        assert_eq!(proxies.client(peer, &["for=203.0.113.7, proto=https"]).to_string(), "10.0.0.1");
        assert_eq!(proxies.header_name(), "forwarded");
    }

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

    proptest! {
        #[test]
        fn nothing_a_client_writes_before_it_changes_its_address(made_up in "[0-9a-z.:, ]{0,40}", client in any::<[u8; 4]>()) {
            let address = IpAddr::from(client);
            prop_assume!(!proxies(AddressHeader::XForwardedFor).contains(address));
            let proxies = proxies(AddressHeader::XForwardedFor);
            let peer = "10.0.0.1".parse().unwrap();
            // The proxy adds what it saw to what the client sent.
            let found = proxies.client(peer, &[&format!("{made_up}, {address}")]);
            prop_assert_eq!(found, address);
        }

        #[test]
        fn no_header_makes_it_panic(values in prop::collection::vec("\\PC{0,30}", 0..4), peer in any::<IpAddr>()) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let _ = proxies(AddressHeader::Forwarded).client(peer, &values);
            let _ = proxies(AddressHeader::XForwardedFor).client(peer, &values);
        }

        #[test]
        fn no_text_makes_a_network_panic(text in "[0-9a-f.:/+ ]{0,30}") {
            if let Ok(network) = text.parse::<Network>() {
                prop_assert_eq!(network.to_string().parse(), Ok(network));
            }
        }
    }
}
