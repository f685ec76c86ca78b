//! Requests and replies: each requester has a responder that returns every payload.

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

/// How long the last replies may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// If the machine was so busy that nothing arrived in the measured time, this much is added to it.
const MORE: Duration = Duration::from_millis(100);

/// Both ends of all pairs. Connection `i` is responder `i`; connection `pairs + i` is requester
/// `i`.
struct Pairs<'a, P> {
    protocol: &'a P,
    payloads: &'a Payloads,
    scratch: Vec<u8>,
    clock: Clock,
    sent: Vec<u32>,
    requests: Vec<InOrder>,
    replies: Vec<InOrder>,
    /// Whether a requester sends its next request when it gets a reply.
    again: bool,
    done: u64,
    latencies: Latencies,
}

impl<P: Protocol> Pairs<'_, P> {
    fn request(&mut self, conns: &mut Conns, pair: usize, time: u64) {
        let Some(sent) = self.sent.get_mut(pair) else {
            return;
        };
        self.payloads.write(&mut self.scratch, Stamp { publisher: pair as u16, number: *sent, time });
        self.protocol.request(conns, self.requests.len() + pair, pair as u32, *sent, &self.scratch);
        *sent += 1;
    }

    fn missing(&self) -> u64 {
        self.sent.iter().map(|&sent| u64::from(sent)).sum::<u64>() - self.done
    }
}

impl<P: Protocol> App for Pairs<'_, P> {
    fn on_payload(&mut self, conns: &mut Conns, conn: usize, delivery: Delivery<'_>) -> Result<(), Fault> {
        if let Some(requests) = self.requests.get_mut(conn) {
            requests.take(self.payloads, conn, delivery.payload)?;
            return self.protocol.reply(conns, conn, delivery.origin, delivery.payload);
        }
        let pair = conn - self.requests.len();
        let Some(replies) = self.replies.get_mut(pair) else {
            return Err(Fault::Unexpected { conn, shown: shown(delivery.payload) });
        };
        let stamp = replies.take(self.payloads, conn, delivery.payload)?;
        if !self.protocol.answers(delivery.origin, pair as u32, stamp.number) {
            return Err(Fault::WrongReply { conn, shown: shown(delivery.origin) });
        }
        let now = self.clock.now();
        self.latencies.push(now.saturating_sub(stamp.time));
        self.done += 1;
        if self.again {
            self.request(conns, pair, now);
        }
        Ok(())
    }
}

/// Runs the scenario. Without a rate, each requester sends the next request as soon as it has its
/// answer.
pub(super) fn run<P: Protocol>(
    case: &Case,
    pairs: u32,
    rate: Option<f64>,
    (server, mut protocol): (Server, P),
) -> Result<Findings, RunError> {
    let payloads = Payloads::new(case.payload);
    let roles: Vec<Role> = (0..pairs).map(Role::Responder).chain((0..pairs).map(Role::Requester)).collect();
    protocol.prepare(&roles)?;
    let mut session = Session::new(&protocol)?;
    session.connect(&roles)?;
    session.settle(Duration::from_millis(200))?;

    let orders: Vec<InOrder> = (0..pairs).map(|pair| InOrder::of(pair as u16)).collect();
    let clock = Clock::start();
    let mut app = Pairs {
        protocol: &protocol,
        payloads: &payloads,
        scratch: Vec::new(),
        clock,
        sent: vec![0; pairs as usize],
        requests: orders.clone(),
        replies: orders,
        again: rate.is_none(),
        done: 0,
        latencies: Latencies::default(),
    };
    let mut pace = rate.map(|rate| Pace::new(0, rate));
    if pace.is_none() {
        for pair in 0..pairs as usize {
            app.request(&mut session.net.conns, pair, clock.now());
        }
    }
    let mut run_for = |session: &mut Session<'_, P>, app: &mut Pairs<'_, P>, time: Duration| {
        let start = Instant::now();
        while start.elapsed() < time {
            // A paced generator does not sleep: its own wake-up must not count as the server's
            // latency.
            let mut timeout = Duration::from_millis(100);
            if let Some(pace) = &mut pace {
                timeout = Duration::ZERO;
                while let Some((index, at)) = pace.due(clock.now()) {
                    app.request(&mut session.net.conns, (index % u64::from(pairs)) as usize, at);
                }
            }
            session.turn(Some(timeout), app)?;
        }
        Ok::<(), Fault>(())
    };
    run_for(&mut session, &mut app, case.warm_up)?;
    app.latencies = Latencies::default();
    let (before, span) = (app.done, server.measure()?);
    run_for(&mut session, &mut app, case.measured)?;
    let begun = Instant::now();
    while app.done == before && begun.elapsed() < PATIENCE {
        run_for(&mut session, &mut app, MORE)?;
    }
    let (count, cost) = (app.done - before, span.end()?);
    let mut latencies = std::mem::take(&mut app.latencies);
    app.again = false;
    let start = Instant::now();
    while app.missing() > 0 {
        if start.elapsed() > PATIENCE {
            return Err(Fault::Missing { missing: app.missing(), seconds: PATIENCE.as_secs() }.into());
        }
        session.turn(Some(Duration::from_millis(50)), &mut app)?;
    }

    let mut findings = Findings::default();
    findings.add("cpu", "us/round trip", cost.per(count));
    findings.add("p50", "us", latencies.quantile(0.5));
    findings.add("p99", "us", latencies.quantile(0.99));
    findings.add("rate", "round trips/s", cost.rate(count));
    findings.add_loads("round trip", &cost, count);
    Ok(findings)
}
