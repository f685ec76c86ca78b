//! The PROXY protocol, versions 1 and 2: a proxy that does not speak HTTP names its client before
//! the first byte.
//!
//! It is read only from trusted proxies, and always from those: their connections without it are
//! refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest line of version 1, including its end.
pub const MAX_LINE: usize = 107;
/// The longest header of version 2 that is read: addresses and as many further fields as proxies
/// send.
pub const MAX_HEADER: usize = 16 + 2048;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// A parsed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its length in bytes; what follows is the client's.
    pub length: usize,
    /// The client, and the address that it connected to. `None` if the proxy speaks for itself (a
    /// health check) or for something without an address.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderFault {
    /// More bytes are needed. At [`MAX_HEADER`] bytes at the latest there is a decision.
    #[error("the PROXY header is not complete yet")]
    Incomplete,
    /// It is no header, or a malformed one. The connection must be closed.
    #[error("the connection does not begin with a well-formed PROXY header")]
    Malformed,
}

use ProxyHeaderFault::{Incomplete, Malformed};

/// Parses the header at the beginning of what a proxy sent.
///
/// # Errors
/// See [`ProxyHeaderFault`].
pub fn parse(bytes: &[u8]) -> Result<ProxyHeader, ProxyHeaderFault> {
    let begins_with = |expected: &[u8]| bytes.iter().zip(expected).all(|(one, other)| one == other);
    if begins_with(SIGNATURE) {
        if bytes.len() < SIGNATURE.len() { Err(Incomplete) } else { parse_binary(bytes) }
    } else if begins_with(b"PROXY ") {
        parse_line(bytes)
    } else {
        Err(Malformed)
    }
}

/// How many bytes a header with this beginning still has at least: so many may be read without
/// taking any of the client's.
pub fn surely_missing(bytes: &[u8]) -> usize {
    const SHORTEST: usize = 12;
    if bytes.len() < SHORTEST {
        return SHORTEST - bytes.len();
    }
    if !bytes.starts_with(SIGNATURE) {
        return 1;
    }
    let length = bytes.get(14..16).and_then(|pair| <[u8; 2]>::try_from(pair).ok()).map(u16::from_be_bytes);
    length.map_or(16_usize.saturating_sub(bytes.len()), |length| (16 + usize::from(length)).saturating_sub(bytes.len())).max(1)
}

fn parse_line(bytes: &[u8]) -> Result<ProxyHeader, ProxyHeaderFault> {
    let head = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
        // A line feed alone, or too many bytes without an end, cannot become a header.
        return Err(if bytes.len() < MAX_LINE && !head.contains(&b'\n') { Incomplete } else { Malformed });
    };
    let line = head.get(..end).and_then(|line| str::from_utf8(line).ok()).ok_or(Malformed)?;
    let length = end + 2;
    let words: Vec<&str> = line.split(' ').collect();
    let addresses = match words.as_slice() {
        // What follows UNKNOWN is ignored.
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4", from, to, from_port, to_port] => {
            Some((socket::<Ipv4Addr>(from, from_port)?, socket::<Ipv4Addr>(to, to_port)?))
        }
        ["PROXY", "TCP6", from, to, from_port, to_port] => {
            Some((socket::<Ipv6Addr>(from, from_port)?, socket::<Ipv6Addr>(to, to_port)?))
        }
        _ => return Err(Malformed),
    };
    Ok(ProxyHeader { length, addresses })
}

fn socket<T: std::str::FromStr + Into<IpAddr>>(address: &str, port: &str) -> Result<SocketAddr, ProxyHeaderFault> {
    let is_plain = port.bytes().all(|byte| byte.is_ascii_digit()) && (port == "0" || !port.starts_with('0'));
    let port = port.parse().ok().filter(|_| is_plain).ok_or(Malformed)?;
    address.parse::<T>().map(|address| SocketAddr::new(address.into(), port)).map_err(|_| Malformed)
}

fn parse_binary(bytes: &[u8]) -> Result<ProxyHeader, ProxyHeaderFault> {
    let Some([command, family, high, low]) = bytes.get(12..16).and_then(|fields| <[u8; 4]>::try_from(fields).ok()) else {
        // The version can be checked as soon as it is there.
        return Err(if bytes.get(12).is_none_or(|command| command >> 4 == 2) { Incomplete } else { Malformed });
    };
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed),
    };
    let length = 16 + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_HEADER {
        return Err(Malformed);
    }
    // Zero is "no address", 1 and 2 are IPv4 and IPv6, 3 is a local socket; 1 and 2 in the low half
    // are stream and datagram.
    if family >> 4 > 3 || family & 15 > 2 {
        return Err(Malformed);
    }
    let body = bytes.get(16..length).ok_or(Incomplete)?;
    let addresses = match (is_local, family) {
        (false, 0x11) => Some(pair::<4>(body)?),
        (false, 0x21) => Some(pair::<16>(body)?),
        // A proxy for datagrams does not belong here.
        (false, 0x12 | 0x22) => return Err(Malformed),
        _ => None,
    };
    Ok(ProxyHeader { length, addresses })
}

/// Two addresses of so many bytes, then their ports. Further fields follow, which are ignored.
fn pair<const BYTES: usize>(body: &[u8]) -> Result<(SocketAddr, SocketAddr), ProxyHeaderFault>
where
    IpAddr: From<[u8; BYTES]>,
{
    let address = |at: usize| body.get(at..at + BYTES).and_then(|bytes| <[u8; BYTES]>::try_from(bytes).ok()).map(IpAddr::from);
    let port = |at: usize| body.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes);
    let read = || {
        let from = SocketAddr::new(address(0)?, port(2 * BYTES)?);
        Some((from, SocketAddr::new(address(BYTES)?, port(2 * BYTES + 2)?)))
    };
    read().ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE.as_slice(), &[command, family], &length, body].concat()
    }

    fn line(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
        let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
        format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port()).into_bytes()
    }

    fn header(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
        binary(0x21, if from.is_ipv4() { 0x11 } else { 0x21 }, &[octets(from.ip()), octets(to.ip()), ports].concat())
    }

    #[test]
    fn proxies_may_speak_for_themselves() {
        for (bytes, length) in [
            (b"PROXY UNKNOWN\r\nGET".to_vec(), 15),
            (b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n".to_vec(), 36),
            (binary(0x20, 0x00, &[]), 16),
            (binary(0x20, 0x11, &[0; 12]), 28),
            (binary(0x21, 0x00, &[1, 2, 3]), 19),
            (binary(0x21, 0x31, &[0; 216]), 232),
        ] {
            assert_eq!(parse(&bytes), Ok(ProxyHeader { length, addresses: None }), "{bytes:?}");
        }
    }

    #[test]
    fn malformed_headers_are_refused_at_once() {
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n".to_vec(),
            b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(),
            b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n".to_vec(),
            b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
            [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
            binary(0x11, 0x11, &[0; 12]),
            binary(0x22, 0x11, &[0; 12]),
            binary(0x21, 0x41, &[0; 12]),
            binary(0x21, 0x13, &[0; 12]),
            binary(0x21, 0x12, &[0; 12]),
            binary(0x21, 0x11, &[0; 11]),
            binary(0x21, 0x21, &[0; 35]),
            binary(0x21, 0x11, &[0; 2049])[..16].to_vec(),
        ] {
            assert_eq!(parse(&bytes), Err(Malformed), "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn further_fields_are_passed_over() {
        let mut bytes = binary(0x21, 0x11, &[&[192, 0, 2, 1, 192, 0, 2, 2, 1, 187, 0, 80][..], &[3, 0, 4, 1, 2, 3, 4]].concat());
        bytes.extend(b"GET /");
        let expected = ("192.0.2.1:443".parse().unwrap(), "192.0.2.2:80".parse().unwrap());
        assert_eq!(parse(&bytes), Ok(ProxyHeader { length: 35, addresses: Some(expected) }));
    }

    proptest! {
        #[test]
        fn headers_survive_and_need_all_their_bytes(v6 in any::<bool>(), v4_pair in any::<[[u8; 4]; 2]>(), v6_pair in any::<[[u8; 16]; 2]>(), ports in any::<[u16; 2]>(), rest in any::<Vec<u8>>()) {
            let [from, to] = if v6 { v6_pair.map(IpAddr::from) } else { v4_pair.map(IpAddr::from) };
            let (from, to) = (SocketAddr::new(from, ports[0]), SocketAddr::new(to, ports[1]));
            for head in [line(from, to), header(from, to)] {
                let whole = [head.as_slice(), &rest].concat();
                prop_assert_eq!(parse(&whole), Ok(ProxyHeader { length: head.len(), addresses: Some((from, to)) }));
                for cut in 0..head.len() {
                    prop_assert_eq!(parse(&head[..cut]), Err(Incomplete));
                }
            }
        }

        #[test]
        fn reading_what_is_surely_missing_never_reads_too_far(v6 in any::<bool>(), v4_pair in any::<[[u8; 4]; 2]>(), v6_pair in any::<[[u8; 16]; 2]>(), ports in any::<[u16; 2]>()) {
            let [from, to] = if v6 { v6_pair.map(IpAddr::from) } else { v4_pair.map(IpAddr::from) };
            let (from, to) = (SocketAddr::new(from, ports[0]), SocketAddr::new(to, ports[1]));
            for head in [line(from, to), header(from, to), b"PROXY UNKNOWN\r\n".to_vec(), binary(0x20, 0, &[])] {
                let mut read = 0;
                while parse(&head[..read]) == Err(Incomplete) {
                    read += surely_missing(&head[..read]);
                    prop_assert!(read <= head.len());
                }
                prop_assert_eq!(read, head.len());
            }
        }

        #[test]
        fn no_bytes_make_it_panic_or_wait_for_ever(bytes in any::<Vec<u8>>(), command in any::<u8>(), family in any::<u8>(), text in "\\PC{0,120}") {
            let _ = parse(&bytes);
            let _ = parse(&[SIGNATURE.as_slice(), &[command, family], &bytes].concat());
            let _ = parse(format!("PROXY {text}\r\n").as_bytes());
            let long = [SIGNATURE.as_slice(), &[command, family], &bytes, &[0; MAX_HEADER]].concat();
            prop_assert_ne!(parse(&long), Err(Incomplete));
        }
    }
}
