//! The gate before HTTP: finds out who is at the other end, and bounds what one address has that is
//! not a WebSocket yet.
//!
//! If a listener uses the PROXY protocol, connections of trusted proxies begin with its header and
//! count for the client that it names. Without it, connections of trusted proxies are not counted,
//! because all clients come from them. A connection holds a place in the gate as long as it speaks
//! HTTP. At the bound, the next connection is closed unread: an answer would cost more than it is
//! worth.
//!
//! The table is bounded by the open connections, and by the number that arrives while a bucket
//! fills.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{
    config::Settings,
    network::{Network, counted},
    rate::{Bucket, Rate},
};
use parking_lot::Mutex;
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use crate::{
    client_address::proxy_protocol::{self, MAX_HEADER, ProxyHeaderFault},
    clock,
};

/// Size of the table at which idle entries are removed. Afterwards it is twice the number of those
/// left.
const FIRST_CLEANING: usize = 1024;

/// The rules of a gate.
#[derive(Clone, Debug)]
pub struct GateRules {
    /// Trusted proxies.
    pub proxies: Vec<Network>,
    /// Whether their connections begin with the PROXY protocol.
    pub proxy_protocol: bool,
    /// Addresses that are not counted.
    pub exempt: Vec<Network>,
    /// Connections of one address that speak HTTP.
    pub at_once: usize,
    /// New connections of one address.
    pub arrivals: Rate,
    /// Time for the PROXY header.
    pub patience: Duration,
}

impl GateRules {
    /// The rules of a listener. `proxy_protocol`: whether its trusted proxies use the PROXY
    /// protocol.
    pub fn of(settings: &Settings, proxy_protocol: bool) -> Self {
        Self {
            proxies: settings.proxies.trusted.clone(),
            proxy_protocol,
            exempt: settings.limits.exempt_networks.clone(),
            at_once: settings.limits.max_address_handshakes,
            arrivals: settings.rates.address_connections,
            patience: settings.limits.handshake_timeout,
        }
    }

    /// A gate without limits.
    pub fn open() -> Self {
        Self {
            proxies: Vec::new(),
            proxy_protocol: false,
            exempt: Vec::new(),
            at_once: usize::MAX,
            arrivals: Rate::UNLIMITED,
            patience: Duration::from_secs(5),
        }
    }
}

/// See the module. One per listener, shared by its threads.
#[derive(Debug)]
pub struct Gate {
    rules: GateRules,
    table: Mutex<Table>,
    turned_away: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    customers: HashMap<IpAddr, Customer>,
    clean_at: usize,
}

#[derive(Debug, Default)]
struct Customer {
    here: usize,
    arrivals: Bucket,
}

/// A place in the gate. Dropping it gives it back.
#[derive(Debug)]
pub struct GateSlot {
    gate: Arc<Gate>,
    customer: Option<IpAddr>,
}

impl Gate {
    /// A gate with these rules.
    pub fn new(rules: GateRules) -> Arc<Self> {
        Arc::new(Self { rules, table: Mutex::default(), turned_away: AtomicU64::new(0) })
    }

    /// Connections that were closed unread.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Relaxed)
    }

    /// Admits a connection: returns the client's address and its place. `None`: close it.
    pub(crate) async fn enter(self: Arc<Self>, socket: &mut TcpStream) -> Option<(SocketAddr, GateSlot)> {
        let peer = socket.peer_addr().ok()?;
        let is_proxy = self.rules.proxies.iter().any(|network| network.contains(peer.ip()));
        if !is_proxy || !self.rules.proxy_protocol {
            let place = self.take(peer.ip(), is_proxy)?;
            return Some((peer, place));
        }
        let client = match timeout(self.rules.patience, read_header(socket)).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => {
                tracing::debug!(%peer, kind = %error.kind(), "no PROXY header from a trusted proxy");
                return None;
            }
            Err(_) => return None,
        };
        // A proxy that speaks for itself makes a health check.
        let place = self.take(client.unwrap_or(peer).ip(), client.is_none())?;
        Some((client.unwrap_or(peer), place))
    }

    fn take(self: Arc<Self>, address: IpAddr, is_proxy: bool) -> Option<GateSlot> {
        let Some(key) = counted(address, &self.rules.exempt).filter(|_| !is_proxy) else {
            return Some(GateSlot { gate: self, customer: None });
        };
        let now = Duration::from_millis(clock::now_ms());
        let is_in = self.table.lock().take(key, &self.rules, now);
        if !is_in {
            self.turned_away.fetch_add(1, Relaxed);
            tracing::debug!(%address, "connection closed at the gate");
        }
        is_in.then(|| GateSlot { gate: self, customer: Some(key) })
    }
}

impl Table {
    fn take(&mut self, key: IpAddr, rules: &GateRules, now: Duration) -> bool {
        if self.customers.len() >= self.clean_at.max(FIRST_CLEANING) {
            self.customers.retain(|_, customer| customer.here > 0 || !customer.arrivals.is_full(now));
            self.clean_at = self.customers.len() * 2;
        }
        let customer = self.customers.entry(key).or_default();
        let may = customer.here < rules.at_once && rules.arrivals.take(&mut customer.arrivals, 1, now).is_ok();
        customer.here += usize::from(may);
        may
    }
}

impl Drop for GateSlot {
    fn drop(&mut self) {
        let Some(key) = self.customer else { return };
        let mut table = self.gate.table.lock();
        if let Some(customer) = table.customers.get_mut(&key) {
            customer.here = customer.here.saturating_sub(1);
        }
    }
}

/// Reads the PROXY header and not a byte more. `None`: the proxy speaks for itself.
async fn read_header(socket: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut head = Vec::with_capacity(256);
    loop {
        match proxy_protocol::parse(&head) {
            Ok(header) => return Ok(header.addresses.map(|(client, _)| client)),
            Err(ProxyHeaderFault::Incomplete) => {}
            Err(fault) => return Err(io::Error::new(io::ErrorKind::InvalidData, fault)),
        }
        let more = proxy_protocol::surely_missing(&head).min(MAX_HEADER);
        let have = head.len();
        head.resize(have + more, 0);
        socket.read_exact(head.get_mut(have..).unwrap_or_default()).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(at_once: usize, arrivals: Rate) -> Arc<Gate> {
        Gate::new(GateRules { at_once, arrivals, exempt: Network::this_machine(), ..GateRules::open() })
    }

    fn take(gate: &Arc<Gate>, address: &str) -> Option<GateSlot> {
        Arc::clone(gate).take(address.parse().expect("an address"), false)
    }

    #[test]
    fn each_address_has_its_own_places() {
        let gate = gate(2, Rate::UNLIMITED);
        let places = [take(&gate, "192.0.2.1"), take(&gate, "192.0.2.1")];
        assert!(places.iter().all(Option::is_some));
        assert!(take(&gate, "192.0.2.1").is_none());
        assert!(take(&gate, "192.0.2.2").is_some());
        drop(places);
        assert!(take(&gate, "192.0.2.1").is_some());
        assert_eq!(gate.turned_away(), 1);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address_and_loopback_is_exempt() {
        let gate = gate(1, Rate::UNLIMITED);
        let _place = take(&gate, "2001:db8::1");
        assert!(take(&gate, "2001:db8::2").is_none());
        let local: Vec<_> = (0..10).map(|_| take(&gate, "127.0.0.1")).collect();
        assert!(local.iter().all(Option::is_some));
    }

    #[test]
    fn arrivals_have_a_rate_and_the_table_forgets_clients_that_left() {
        let gate = gate(usize::MAX, Rate::new(1000, 2));
        assert!(take(&gate, "192.0.2.1").is_some() && take(&gate, "192.0.2.1").is_some());
        assert!(take(&gate, "192.0.2.1").is_none());
        let mut table = Table::default();
        for number in 0..100_000_u32 {
            let now = Duration::from_millis(u64::from(number));
            assert!(table.take(IpAddr::V4(number.into()), &gate.rules, now));
            table.customers.values_mut().for_each(|customer| customer.here = 0);
            assert!(table.customers.len() <= 2 * FIRST_CLEANING);
            if number > 5_000 {
                break;
            }
        }
    }
}
