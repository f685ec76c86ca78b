//! Sets up the connections to one server and hands them to a scenario.

use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::net::{Conns, Ending, Net, Sink};
use crate::protocol::{App, Delivery, Protocol, Role};

/// How many connections are set up at the same time.
const CONCURRENCY: usize = 128;
/// If no connection becomes ready for this long, the set-up has failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// All connections of one run.
pub struct Session<'p, P> {
    /// The sockets; scenarios send through its `conns`.
    pub net: Net,
    protocol: &'p P,
    peers: Vec<Peer>,
}

/// What is known of a connection besides its socket.
struct Peer {
    role: Role,
    ready: bool,
    carry: Vec<u8>,
}

impl<'p, P: Protocol> Session<'p, P> {
    /// No connections yet.
    pub fn new(protocol: &'p P) -> Result<Self, Fault> {
        Ok(Self { net: Net::new()?, protocol, peers: Vec::new() })
    }

    /// Opens one connection for each role, in order: connection `n` has role `n`. Returns how long
    /// that took.
    pub fn connect(&mut self, roles: &[Role]) -> Result<Duration, Fault> {
        let start = Instant::now();
        let mut last_progress = start;
        let mut ready = 0;
        while ready < roles.len() {
            while self.peers.len() < (ready + CONCURRENCY).min(roles.len()) {
                let Some(&role) = roles.get(self.peers.len()) else {
                    break;
                };
                self.net.dial(&self.protocol.dial(role)?)?;
                self.peers.push(Peer { role, ready: false, carry: Vec::new() });
            }
            let before = ready;
            let mut greeter = Greeter { protocol: self.protocol, peers: &mut self.peers, ready: &mut ready };
            self.net.turn(Some(Duration::from_millis(100)), &mut greeter)?;
            if ready > before {
                last_progress = Instant::now();
            } else if last_progress.elapsed() > PATIENCE {
                let (done, wanted, seconds) = (ready, roles.len(), PATIENCE.as_secs());
                return Err(Fault::Stalled { what: "connections are ready", done, wanted, seconds });
            }
        }
        Ok(start.elapsed())
    }

    /// One turn of the network. Payloads are handed to `app`.
    pub fn turn(&mut self, timeout: Option<Duration>, app: &mut impl App) -> Result<(), Fault> {
        let mut receiver = Receiver { protocol: self.protocol, peers: &mut self.peers, app };
        self.net.turn(timeout, &mut receiver)
    }

    /// Waits for `wait`. During this time only messages that the server sends by itself may arrive.
    pub fn settle(&mut self, wait: Duration) -> Result<(), Fault> {
        let start = Instant::now();
        while let Some(left) = wait.checked_sub(start.elapsed()) {
            self.turn(Some(left.max(Duration::from_millis(1))), &mut Nothing)?;
        }
        Ok(())
    }

    /// Makes a connection stop or resume reading.
    pub fn set_stuck(&mut self, conn: usize, stuck: bool, app: &mut impl App) -> Result<(), Fault> {
        let mut receiver = Receiver { protocol: self.protocol, peers: &mut self.peers, app };
        self.net.set_stuck(conn, stuck, &mut receiver)
    }
}

/// Sets connections up.
struct Greeter<'a, P> {
    protocol: &'a P,
    peers: &'a mut [Peer],
    ready: &'a mut usize,
}

impl<P: Protocol> Greeter<'_, P> {
    fn on_ready(&mut self, conn: usize) {
        if let Some(peer) = self.peers.get_mut(conn) {
            peer.ready = true;
        }
        *self.ready += 1;
    }
}

impl<P: Protocol> Sink for Greeter<'_, P> {
    fn on_open(&mut self, conns: &mut Conns, conn: usize) -> Result<(), Fault> {
        if let Some(peer) = self.peers.get(conn)
            && self.protocol.hello(peer.role, conns, conn)
        {
            self.on_ready(conn);
        }
        Ok(())
    }

    fn on_message(&mut self, conns: &mut Conns, conn: usize, message: &[u8]) -> Result<(), Fault> {
        let Some(peer) = self.peers.get_mut(conn) else {
            return Ok(());
        };
        if peer.ready {
            self.protocol.deliver(&mut peer.carry, conns, conn, message, &mut Nothing)
        } else {
            if self.protocol.greet(peer.role, &mut peer.carry, conns, conn, message)? {
                self.on_ready(conn);
            }
            Ok(())
        }
    }

    fn on_end(&mut self, _: &mut Conns, conn: usize, ending: Ending) -> Result<(), Fault> {
        Err(Fault::Closed { conn, ending })
    }
}

/// Passes payloads on to the scenario.
struct Receiver<'a, P, A> {
    protocol: &'a P,
    peers: &'a mut [Peer],
    app: &'a mut A,
}

impl<P: Protocol, A: App> Sink for Receiver<'_, P, A> {
    fn on_open(&mut self, _: &mut Conns, _: usize) -> Result<(), Fault> {
        Ok(())
    }

    fn on_message(&mut self, conns: &mut Conns, conn: usize, message: &[u8]) -> Result<(), Fault> {
        match self.peers.get_mut(conn) {
            Some(peer) => self.protocol.deliver(&mut peer.carry, conns, conn, message, self.app),
            None => Ok(()),
        }
    }

    fn on_end(&mut self, _: &mut Conns, conn: usize, ending: Ending) -> Result<(), Fault> {
        self.app.on_end(conn, ending)
    }
}

/// A scenario in which no payload may arrive.
struct Nothing;

impl App for Nothing {
    fn on_payload(&mut self, _: &mut Conns, conn: usize, delivery: Delivery<'_>) -> Result<(), Fault> {
        Err(Fault::Unexpected { conn, shown: crate::fault::shown(delivery.payload) })
    }
}
