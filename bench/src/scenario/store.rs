//! Senders of messages that are stored and confirmed. Each has a bounded number of unconfirmed
//! messages.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Findings, RunError};
use crate::fault::{Fault, shown};
use crate::measure::{Clock, Latencies};
use crate::net::Conns;
use crate::payload::{Payloads, Stamp};
use crate::plan::Case;
use crate::protocol::{App, Confirmation, Delivery, Protocol, Role};
use crate::server::Server;
use crate::session::Session;

/// How long the last confirmations may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// If the machine was so busy that nothing was confirmed in the measured time, this much is added
/// to it.
const MORE: Duration = Duration::from_millis(100);

/// One sender: how many messages it has sent, and the times of those that are unconfirmed.
#[derive(Default)]
struct Sender {
    sent: u32,
    open: VecDeque<(u32, u64)>,
}

/// All senders. Connection `i` is sender `i`.
struct Senders<'a, P> {
    protocol: &'a P,
    payloads: &'a Payloads,
    scratch: Vec<u8>,
    clock: Clock,
    senders: Vec<Sender>,
    /// Whether a sender sends its next message when one is confirmed.
    again: bool,
    positions: Vec<u64>,
    latencies: Latencies,
}

impl<P: Protocol> Senders<'_, P> {
    fn send(&mut self, conns: &mut Conns, conn: usize) {
        let Some(sender) = self.senders.get_mut(conn) else {
            return;
        };
        let (number, time) = (sender.sent, self.clock.now());
        self.payloads.write(&mut self.scratch, Stamp { publisher: conn as u16, number, time });
        self.protocol.store(conns, conn, conn as u32, number, &self.scratch);
        sender.sent += 1;
        sender.open.push_back((number, time));
    }

    fn confirmed(&self) -> u64 {
        self.positions.len() as u64
    }

    fn missing(&self) -> u64 {
        self.senders.iter().map(|sender| sender.open.len() as u64).sum()
    }

    /// Checks that no two messages were given the same position.
    fn check_positions(&mut self) -> Result<(), Fault> {
        self.positions.sort_unstable();
        let twice = self.positions.windows(2).find(|pair| pair.first() == pair.last());
        twice.and_then(|pair| pair.first()).map_or(Ok(()), |&seq| Err(Fault::SamePosition { seq }))
    }
}

impl<P: Protocol> App for Senders<'_, P> {
    fn on_payload(&mut self, _: &mut Conns, conn: usize, delivery: Delivery<'_>) -> Result<(), Fault> {
        Err(Fault::Unexpected { conn, shown: shown(delivery.payload) })
    }

    fn on_confirmed(&mut self, conns: &mut Conns, conn: usize, confirmation: Confirmation) -> Result<(), Fault> {
        let open = self.senders.get_mut(conn).map(|sender| &mut sender.open);
        let found = open.and_then(|open| {
            let index = open.iter().position(|(number, _)| *number == confirmation.number)?;
            open.remove(index)
        });
        let Some((_, time)) = found else {
            return Err(Fault::Unexpected { conn, shown: format!("{confirmation:?}") });
        };
        self.latencies.push(self.clock.now().saturating_sub(time));
        self.positions.push(confirmation.seq);
        if self.again {
            self.send(conns, conn);
        }
        Ok(())
    }
}

/// Runs the scenario: each sender sends again when one of its `window` messages is confirmed.
pub(super) fn run<P: Protocol>(
    case: &Case,
    senders: u32,
    window: u32,
    (server, mut protocol): (Server, P),
) -> Result<Findings, RunError> {
    let payloads = Payloads::new(case.payload);
    let roles: Vec<Role> = (0..senders).map(Role::Sender).collect();
    protocol.prepare(&roles)?;
    let mut session = Session::new(&protocol)?;
    session.connect(&roles)?;
    session.settle(Duration::from_millis(200))?;

    let mut app = Senders {
        protocol: &protocol,
        payloads: &payloads,
        scratch: Vec::new(),
        clock: Clock::start(),
        senders: roles.iter().map(|_| Sender::default()).collect(),
        again: true,
        positions: Vec::new(),
        latencies: Latencies::default(),
    };
    for _ in 0..window {
        for conn in 0..roles.len() {
            app.send(&mut session.net.conns, conn);
        }
    }
    let run_for = |session: &mut Session<'_, P>, app: &mut Senders<'_, P>, time: Duration| {
        let start = Instant::now();
        while start.elapsed() < time {
            session.turn(Some(Duration::from_millis(100)), app)?;
        }
        Ok::<(), Fault>(())
    };
    run_for(&mut session, &mut app, case.warm_up)?;
    app.latencies = Latencies::default();
    let (before, span) = (app.confirmed(), server.measure()?);
    run_for(&mut session, &mut app, case.measured)?;
    let begun = Instant::now();
    while app.confirmed() == before && begun.elapsed() < PATIENCE {
        run_for(&mut session, &mut app, MORE)?;
    }
    let (count, cost) = (app.confirmed() - before, span.end()?);
    let mut latencies = std::mem::take(&mut app.latencies);
    app.again = false;
    let start = Instant::now();
    while app.missing() > 0 {
        if start.elapsed() > PATIENCE {
            return Err(Fault::Missing { missing: app.missing(), seconds: PATIENCE.as_secs() }.into());
        }
        session.turn(Some(Duration::from_millis(50)), &mut app)?;
    }
    app.check_positions()?;

    let mut findings = Findings::default();
    findings.add("rate", "messages/s", cost.rate(count));
    findings.add("p50", "us", latencies.quantile(0.5));
    findings.add("p99", "us", latencies.quantile(0.99));
    findings.add("cpu", "us/message", cost.per(count));
    findings.add_loads("message", &cost, count);
    Ok(findings)
}
