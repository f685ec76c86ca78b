//! Sockets of dialects whose clients have not shown credentials yet. Bounded in all and for each
//! address. They belong to no session, so the table of open sockets does not know them.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use common::{
    close::CloseCode,
    config::Limits,
    error::ErrorCode,
    network::{Network, counted},
};
use parking_lot::Mutex;
use transport::{Accounts, Allowance, CloseMode, Link, Tab};

/// The part of all connections that strangers may have: one in so many.
const ONE_IN: usize = 4;

/// See the module. Shared by all threads.
pub struct Strangers {
    most: usize,
    most_of_address: usize,
    exempt: Vec<Network>,
    addresses: Accounts<IpAddr>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    links: HashMap<u64, Arc<Link>>,
    next: u64,
    is_closed: bool,
}

/// A stranger's place. Dropping it gives it back.
pub struct StrangerPlace {
    strangers: Arc<Strangers>,
    number: u64,
    _share: Option<Tab>,
}

impl Strangers {
    /// An empty table with these limits.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            most: (limits.max_connections / ONE_IN).max(1),
            most_of_address: limits.max_address_handshakes,
            exempt: limits.exempt_networks.clone(),
            addresses: Accounts::default(),
            table: Mutex::default(),
        })
    }

    /// Takes a place.
    ///
    /// # Errors
    /// `not_ready` while draining, `at_capacity`, `too_many_connections`.
    pub fn admit(self: &Arc<Self>, address: IpAddr, link: &Arc<Link>) -> Result<StrangerPlace, ErrorCode> {
        let allowance = Allowance { connections: self.most_of_address, ..Allowance::UNLIMITED };
        let share = counted(address, &self.exempt).map(|address| self.addresses.open(address, allowance)).transpose();
        let share = share.map_err(|_| ErrorCode::TooManyConnections)?;
        let mut table = self.table.lock();
        if table.is_closed {
            return Err(ErrorCode::NotReady);
        }
        if table.links.len() >= self.most {
            return Err(ErrorCode::AtCapacity);
        }
        let number = table.next;
        table.next += 1;
        table.links.insert(number, Arc::clone(link));
        Ok(StrangerPlace { strangers: Arc::clone(self), number, _share: share })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.table.lock().links.len()
    }

    /// Admits no more, and closes those that are here.
    pub fn shut(&self) {
        let mut table = self.table.lock();
        table.is_closed = true;
        for link in table.links.values() {
            link.close(CloseCode::SERVICE_RESTART, "the server restarts", CloseMode::Flush);
        }
    }
}

impl Drop for StrangerPlace {
    fn drop(&mut self) {
        self.strangers.table.lock().links.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use common::message::Speaker;
    use transport::{LinkPolicy, flow::FlowPolicy, link::LinkCounts};

    use super::*;

    fn link() -> Arc<Link> {
        Link::new(Arc::new(LinkPolicy {
            outbox_bytes: 1000,
            flow: FlowPolicy { burst_ms: 250, share: 0.05 },
            slow_consumer_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(5),
            silence_timeout: Duration::from_secs(30),
            close_grace: Duration::from_secs(2),
            speaker: Speaker::Edge,
            counts: LinkCounts::default(),
        }))
    }

    #[test]
    fn places_are_bounded_in_all_and_for_an_address_and_closed_when_the_edge_drains() {
        let limits = Limits { max_connections: 16, max_address_handshakes: 2, ..Limits::default() };
        let strangers = Strangers::new(&limits);
        let from = |last: u8| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        let admit = |last: u8| strangers.admit(from(last), &link());
        let held = [admit(1), admit(1)];
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(admit(1).err(), Some(ErrorCode::TooManyConnections));
        let others = [admit(2), admit(3)];
        assert!(others.iter().all(Result::is_ok));
        assert_eq!(admit(4).err(), Some(ErrorCode::AtCapacity));
        drop(held);
        let link = link();
        let _last = strangers.admit(from(4), &link).expect("room again");
        strangers.shut();
        assert_eq!(link.closing(), Some(CloseCode::SERVICE_RESTART));
        assert_eq!(admit(5).err(), Some(ErrorCode::NotReady));
    }
}
