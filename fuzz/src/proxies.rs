//! What is read before anybody is known: the PROXY protocol, and the headers in which proxies name
//! the client.

use std::net::IpAddr;

use transport::client_address::{
    AddressHeader, TrustedProxies,
    proxy_protocol::{self, MAX_HEADER, ProxyHeaderFault},
};

/// A PROXY header is read in steps that never take a byte of the client's, and ends within its
/// bound. Headers never make the client out to be somebody whom a trusted proxy did not name, and
/// strangers are not believed at all.
pub fn proxies(data: &[u8]) {
    header(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let values: Vec<&str> = text.split('\n').collect();
    let (stranger, proxy) = (IpAddr::from([203, 0, 113, 7]), IpAddr::from([10, 0, 0, 1]));
    for header in [AddressHeader::Forwarded, AddressHeader::XForwardedFor] {
        let Ok(network) = "10.0.0.0/8".parse() else { return };
        let proxies = TrustedProxies::new(vec![network], header);
        assert_eq!(proxies.client(stranger, &values), stranger);
        let _ = proxies.client(proxy, &values);
    }
    // The proxy adds what it saw behind whatever the client sent.
    let added = [values.as_slice(), &["203.0.113.7"]].concat();
    let Ok(network) = "10.0.0.0/8".parse() else { return };
    assert_eq!(TrustedProxies::new(vec![network], AddressHeader::XForwardedFor).client(proxy, &added), stranger);
}

fn header(data: &[u8]) {
    let mut read = 0;
    loop {
        match proxy_protocol::parse(&data[..read]) {
            Ok(header) => {
                assert_eq!(header.length, read);
                assert_eq!(proxy_protocol::parse(data).map(|header| header.length), Ok(read));
                return;
            }
            Err(ProxyHeaderFault::Malformed) => return,
            Err(ProxyHeaderFault::Incomplete) => {
                assert!(read < MAX_HEADER);
                let more = proxy_protocol::surely_missing(&data[..read]);
                assert!(more > 0);
                if read + more > data.len() {
                    return;
                }
                read += more;
            }
        }
    }
}
