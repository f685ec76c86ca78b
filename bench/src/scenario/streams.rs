//! Agents that each stream small messages to a viewer of their own, evenly spread over time.

use std::time::{Duration, Instant};

use super::pace::Pace;
use super::{Findings, RunError};
use crate::fault::{Fault, shown};
use crate::measure::{Clock, Latencies};
use crate::net::Conns;
use crate::payload::{InOrder, Payloads, Stamp};
use crate::plan::Case;
use crate::protocol::{App, Delivery, Protocol, Role};
use crate::server::Server;
use crate::session::Session;

/// How long the last messages may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// If the machine was so busy that nothing arrived in the measured time, this much is added to it.
const MORE: Duration = Duration::from_millis(100);

/// All viewers. Connection `i` is streamer `i`; connection `agents + i` is its viewer.
struct Viewers<'a> {
    payloads: &'a Payloads,
    orders: Vec<InOrder>,
    clock: Clock,
    delivered: u64,
    latencies: Latencies,
}

impl App for Viewers<'_> {
    fn on_payload(&mut self, _: &mut Conns, conn: usize, delivery: Delivery<'_>) -> Result<(), Fault> {
        let viewer = conn.checked_sub(self.orders.len());
        let order = viewer.and_then(|viewer| self.orders.get_mut(viewer));
        let order = order.ok_or_else(|| Fault::Unexpected { conn, shown: shown(delivery.payload) })?;
        let stamp = order.take(self.payloads, conn, delivery.payload)?;
        self.delivered += 1;
        self.latencies.push(self.clock.now().saturating_sub(stamp.time));
        Ok(())
    }
}

/// Runs the scenario.
pub(super) fn run<P: Protocol>(
    case: &Case,
    agents: u32,
    rate: f64,
    (server, mut protocol): (Server, P),
) -> Result<Findings, RunError> {
    let payloads = Payloads::new(case.payload);
    let roles: Vec<Role> = (0..agents).map(Role::Streamer).chain((0..agents).map(Role::Viewer)).collect();
    protocol.prepare(&roles)?;
    let mut session = Session::new(&protocol)?;
    session.connect(&roles)?;
    session.settle(Duration::from_millis(300))?;

    let clock = Clock::start();
    let mut viewers = Viewers {
        payloads: &payloads,
        orders: (0..agents).map(|agent| InOrder::of(agent as u16)).collect(),
        clock,
        delivered: 0,
        latencies: Latencies::default(),
    };
    let mut pace = Pace::new(0, rate * f64::from(agents));
    let mut scratch = Vec::new();
    let mut sent = 0_u64;
    let mut run_for = |session: &mut Session<'_, P>, viewers: &mut Viewers<'_>, time: Duration| {
        let start = Instant::now();
        while start.elapsed() < time {
            while let Some((index, at)) = pace.due(clock.now()) {
                let (agent, number) = (index % u64::from(agents), (index / u64::from(agents)) as u32);
                payloads.write(&mut scratch, Stamp { publisher: agent as u16, number, time: at });
                protocol.stream(&mut session.net.conns, agent as usize, agent as u32, number, &scratch);
                sent += 1;
            }
            session.turn(Some(Duration::ZERO), viewers)?;
        }
        Ok::<u64, Fault>(sent)
    };
    run_for(&mut session, &mut viewers, case.warm_up)?;
    viewers.latencies = Latencies::default();
    let (before, span) = (viewers.delivered, server.measure()?);
    let mut sent = run_for(&mut session, &mut viewers, case.measured)?;
    let begun = Instant::now();
    while viewers.delivered == before && begun.elapsed() < PATIENCE {
        sent = run_for(&mut session, &mut viewers, MORE)?;
    }
    let (count, cost) = (viewers.delivered - before, span.end()?);
    let mut latencies = std::mem::take(&mut viewers.latencies);
    let start = Instant::now();
    while viewers.delivered < sent {
        if start.elapsed() > PATIENCE {
            return Err(Fault::Missing { missing: sent - viewers.delivered, seconds: PATIENCE.as_secs() }.into());
        }
        session.turn(Some(Duration::from_millis(50)), &mut viewers)?;
    }

    let mut findings = Findings::default();
    findings.add("cpu", "us/delivery", cost.per(count));
    findings.add("p50", "us", latencies.quantile(0.5));
    findings.add("p99", "us", latencies.quantile(0.99));
    findings.add("rate", "deliveries/s", cost.rate(count));
    findings.add_loads("delivery", &cost, count);
    Ok(findings)
}
