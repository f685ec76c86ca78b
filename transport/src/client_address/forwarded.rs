//! The headers in which proxies name the client: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! This module parses them. [`TrustedProxies`](super::TrustedProxies) decides whether to believe
//! them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest value that is read, in bytes, and the most hops.
const MAX_BYTES: usize = 4096;
const MAX_HOPS: usize = 32;

/// The client that a proxy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedNode {
    /// An address. A port is ignored.
    Address(IpAddr),
    /// `unknown`, a name of the proxy's own such as `_hidden`, or text that cannot be read.
    Hidden,
}

/// What one proxy says. Proxies add at the end: the first element is the farthest from us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardedElement {
    /// `for`
    pub node: Option<ForwardedNode>,
    /// `proto`, in lower case.
    pub proto: Option<String>,
    /// `host`
    pub host: Option<String>,
}

/// Parses the values of all `Forwarded` headers, in order. `None`: one of them is malformed or too
/// long.
///
/// A quote that a client left open swallows what a proxy adds behind it. A proxy that uses this
/// header must drop what it cannot read, as RFC 7239 (section 8.1) says.
pub fn forwarded(values: &[&str]) -> Option<Vec<ForwardedElement>> {
    let mut elements = Vec::new();
    for value in values {
        if value.len() > MAX_BYTES {
            return None;
        }
        let mut rest = value.trim_matches([' ', '\t']);
        loop {
            let element;
            (element, rest) = read_element(rest)?;
            elements.push(element);
            match rest.strip_prefix(',') {
                Some(after) => rest = after.trim_start_matches([' ', '\t']),
                None if rest.is_empty() => break,
                None => return None,
            }
        }
    }
    (elements.len() <= MAX_HOPS).then_some(elements)
}

/// `name=value` separated by `;`, up to a comma or the end.
fn read_element(mut rest: &str) -> Option<(ForwardedElement, &str)> {
    let mut element = ForwardedElement::default();
    let mut seen: Vec<String> = Vec::new();
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = read_value(after)?;
        let name = name.to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(is_token) || seen.contains(&name) {
            return None;
        }
        match name.as_str() {
            "for" => element.node = Some(node(&value)?),
            "proto" => element.proto = Some(value.to_ascii_lowercase()),
            "host" => element.host = Some(value),
            _ => {}
        }
        seen.push(name);
        rest = after.trim_start_matches([' ', '\t']);
        match rest.strip_prefix(';') {
            Some(after) => rest = after.trim_start_matches([' ', '\t']),
            None => return Some((element, rest)),
        }
    }
}

fn read_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        // Not in the grammar, but common: an address with its port and without quotes.
        let end = text.bytes().position(|byte| !is_token(byte) && !b":[]".contains(&byte)).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        return (!value.is_empty()).then(|| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return Some((value, quoted.get(place + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            _ if character.is_control() => return None,
            _ => value.push(character),
        }
    }
    None
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn node(text: &str) -> Option<ForwardedNode> {
    let is_hidden = |text: &str| {
        text.eq_ignore_ascii_case("unknown")
            || text.strip_prefix('_').is_some_and(|name| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            })
    };
    let name = text.split_once(':').map_or(text, |(name, _)| name);
    if is_hidden(name) { Some(ForwardedNode::Hidden) } else { address(text, false).map(ForwardedNode::Address) }
}

/// Parses the values of all `X-Forwarded-For` headers, in order: their last 32 hops.
///
/// What cannot be read counts as hidden and does not affect what follows, because proxies add to
/// whatever a client sent.
pub fn forwarded_for(values: &[&str]) -> Vec<ForwardedNode> {
    let items = values.iter().rev().flat_map(|value| value.rsplit(',')).take(MAX_HOPS);
    let read = |item: &str| address(item.trim_matches([' ', '\t']), true).map_or(ForwardedNode::Hidden, ForwardedNode::Address);
    let mut nodes: Vec<_> = items.map(read).collect();
    nodes.reverse();
    nodes
}

/// An address, with or without a port. IPv6 is in brackets, or bare where that is customary.
fn address(text: &str, may_be_bare: bool) -> Option<IpAddr> {
    let is_port = |port: &str| {
        let name = port.strip_prefix(':').unwrap_or_default();
        port.is_empty()
            || name.parse::<u16>().is_ok() && !name.starts_with('+')
            || name.strip_prefix('_').is_some_and(|hidden| !hidden.is_empty() && hidden.bytes().all(is_token))
    };
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        IpAddr::V6(address.parse::<Ipv6Addr>().ok().filter(|_| is_port(port))?)
    } else if let Some(address) = text.parse::<Ipv6Addr>().ok().filter(|_| may_be_bare) {
        IpAddr::V6(address)
    } else {
        let (address, port) = text.split_at_checked(text.find(':').unwrap_or(text.len()))?;
        IpAddr::V4(address.parse::<Ipv4Addr>().ok().filter(|_| is_port(port))?)
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> ForwardedNode {
        ForwardedNode::Address(text.parse().unwrap())
    }

    fn nodes(value: &str) -> Option<Vec<Option<ForwardedNode>>> {
        forwarded(&[value]).map(|elements| elements.into_iter().map(|element| element.node).collect())
    }

    #[test]
    fn the_examples_of_rfc_7239_are_read() {
        assert_eq!(nodes("for=\"_gazonk\""), Some(vec![Some(ForwardedNode::Hidden)]));
        assert_eq!(nodes("For=\"[2001:db8:cafe::17]:4711\""), Some(vec![Some(ip("2001:db8:cafe::17"))]));
        assert_eq!(nodes("for=192.0.2.43, for=198.51.100.17"), Some(vec![Some(ip("192.0.2.43")), Some(ip("198.51.100.17"))]));
        assert_eq!(nodes("for=192.0.2.43,for=\"[2001:db8:cafe::17]\",for=unknown").map(|it| it.len()), Some(3));
        assert_eq!(nodes("for=_hidden, for=_SEVKISEK"), Some(vec![Some(ForwardedNode::Hidden); 2]));
        let elements = forwarded(&["for=192.0.2.60;proto=HTTP;by=203.0.113.43;host=\"a\\\"b\"", "proto=https"]).unwrap();
        assert_eq!((elements[0].proto.as_deref(), elements[0].host.as_deref()), (Some("http"), Some("a\"b")));
        assert_eq!((elements[1].node, elements[1].proto.as_deref()), (None, Some("https")));
    }

    #[test]
    fn a_malformed_header_is_ignored_as_a_whole() {
        for bad in [
            "",
            ",",
            "for",
            "for=",
            "=x",
            "for=1.2.3.4,",
            "for=1.2.3.4;",
            "for=1.2.3.4;for=5.6.7.8",
            "for=1.2.3.4 for=5.6.7.8",
            "for=2001:db8::1",
            "for=\"[2001:db8::1\"",
            "for=\"1.2.3.4",
            "for=1.2.3",
            "for=1.2.3.4:99999",
            "for=example.org",
            "for=\"1.2.3.4\"x",
            "for =1.2.3.4",
        ] {
            assert_eq!(nodes(bad), None, "{bad}");
        }
        assert_eq!(forwarded(&[&"for=1.2.3.4,".repeat(400)]), None);
        assert_eq!(nodes(&format!("for=1.2.3.4{}", ",for=1.2.3.4".repeat(32))), None);
    }

    #[test]
    fn the_older_header_is_read_with_and_without_ports() {
        let value = "203.0.113.7, 198.51.100.1:8080,2001:db8::1 , [2001:db8::2]:443, ::ffff:192.0.2.1, unknown";
        let addresses = ["203.0.113.7", "198.51.100.1", "2001:db8::1", "2001:db8::2", "192.0.2.1"];
        let mut expected = addresses.map(ip).to_vec();
        expected.push(ForwardedNode::Hidden);
        assert_eq!(forwarded_for(&[value]), expected);
        assert_eq!(forwarded_for(&["1.2.3.4", "5.6.7.8"]), [ip("1.2.3.4"), ip("5.6.7.8")]);
        for bad in ["", "1.2.3.4 5.6.7.8", "example.org", "1.2.3.04", "1.2.3.4:+1", "[1.2.3.4]", "\"1.2.3.4\""] {
            assert_eq!(forwarded_for(&[bad, "1.2.3.4"]), [ForwardedNode::Hidden, ip("1.2.3.4")], "{bad}");
        }
        assert_eq!(forwarded_for(&["1.2.3.4,".repeat(100).as_str()]).len(), MAX_HOPS);
    }

    proptest! {
        #[test]
        fn addresses_survive(address in any::<IpAddr>(), port in any::<u16>()) {
            let with_port = std::net::SocketAddr::new(address, port).to_string();
            let expected = vec![ForwardedNode::Address(address.to_canonical())];
            prop_assert_eq!(forwarded_for(&[&with_port]), expected.clone());
            prop_assert_eq!(forwarded_for(&[&address.to_string()]), expected);
            prop_assert_eq!(nodes(&format!("proto=x;for=\"{with_port}\"")), Some(vec![Some(ForwardedNode::Address(address.to_canonical()))]));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}", likely in "(for|by|=|,|;|\"|\\\\|\\[|\\]|1\\.2\\.3\\.4|::1| |_x){0,20}") {
            for value in [text, likely] {
                let _ = (forwarded(&[&value]), forwarded_for(&[&value]));
            }
        }
    }
}
