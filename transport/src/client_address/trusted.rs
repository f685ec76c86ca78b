//! The client's address behind proxies.
//!
//! Headers are believed only as far as trusted proxies wrote them. From the connection backwards,
//! each hop that is a trusted proxy vouches for the one before it. The first hop that is not
//! trusted is the client; the client may have invented what stands before it. One header is
//! configured, because proxies pass on the other one as the client sent it.

use std::net::IpAddr;

use actix_web::http::header::HeaderMap;
use common::{
    config::{ProxyHeader, ProxySettings},
    network::Network,
};

use super::forwarded::{ForwardedNode, forwarded, forwarded_for};

/// The header in which the trusted proxies name the client. Each of them must set or extend it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressHeader {
    /// RFC 7239.
    Forwarded,
    /// The customary one.
    #[default]
    XForwardedFor,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    header: AddressHeader,
}

impl TrustedProxies {
    /// These proxies, which use this header. Without proxies no header is read.
    pub fn new(networks: Vec<Network>, header: AddressHeader) -> Self {
        Self { networks, header }
    }

    /// The proxies of the configuration.
    pub fn of(settings: &ProxySettings) -> Self {
        let header = match settings.header {
            ProxyHeader::XForwardedFor => AddressHeader::XForwardedFor,
            ProxyHeader::Forwarded => AddressHeader::Forwarded,
        };
        Self::new(settings.trusted.clone(), header)
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

    /// Whether the client uses `https` (`Some(true)`) or `http` (`Some(false)`), as the proxies
    /// say: in `Forwarded` the proxy that saw the client, in `X-Forwarded-Proto`, which goes with
    /// `X-Forwarded-For`, the last proxy. `None`: no trusted proxy says it.
    pub fn say_https(&self, peer: IpAddr, headers: &HeaderMap) -> Option<bool> {
        if !self.contains(peer.to_canonical()) {
            return None;
        }
        let is_https = |proto: &str| match proto.trim() {
            proto if proto.eq_ignore_ascii_case("https") => Some(true),
            proto if proto.eq_ignore_ascii_case("http") => Some(false),
            _ => None,
        };
        let values = |name| headers.get_all(name).filter_map(|value| value.to_str().ok()).collect::<Vec<_>>();
        if self.header == AddressHeader::XForwardedFor {
            let values = values("x-forwarded-proto");
            let last = values.last().and_then(|value| value.rsplit(',').next());
            return last.and_then(is_https);
        }
        let mut told = None;
        for element in forwarded(&values("forwarded")).unwrap_or_default().into_iter().rev() {
            told = element.proto.as_deref().and_then(is_https);
            if !matches!(element.node, Some(ForwardedNode::Address(address)) if self.contains(address)) {
                break;
            }
        }
        told
    }

    /// The client's address. `peer` is the other end of the connection (or what a trusted proxy
    /// said by the PROXY protocol). `values` are those of all headers of
    /// [`header_name`](Self::header_name), in order.
    ///
    /// If a trusted proxy hides the address, or the header is malformed, it is the address of the
    /// last known hop.
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
    fn an_unreadable_header_stops_at_the_last_known_hop() {
        assert_eq!(client("10.0.0.1", &["203.0.113.7, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &["<script>"]), "10.0.0.1");
        let proxies = proxies(AddressHeader::Forwarded);
        let peer = "10.0.0.1".parse().unwrap();
        assert_eq!(proxies.client(peer, &["for=203.0.113.7;proto=https"]).to_string(), "203.0.113.7");
        assert_eq!(proxies.client(peer, &["for=203.0.113.7, proto=https"]).to_string(), "10.0.0.1");
        assert_eq!(proxies.header_name(), "forwarded");
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
    }
}
