//! Fan-out: one publisher, many subscribers.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::pace::Pace;
use super::{Findings, RunError};
use crate::fault::Fault;
use crate::measure::{Clock, Latencies};
use crate::net::{Conns, Ending};
use crate::payload::{InOrder, Payloads, Stamp};
use crate::plan::Case;
use crate::protocol::{App, Delivery, Protocol, Role};
use crate::server::Server;
use crate::session::Session;

/// The publisher's connection; the subscribers follow.
pub(super) const PUBLISHER: usize = 0;
/// How long the last messages may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);
/// If the machine was so busy that nothing arrived in the measured time, this much is added to it.
const MORE: Duration = Duration::from_millis(100);
/// The number of the publisher in payloads.
const PUBLISHER_ID: u16 = 0;

/// The subscribers, and what each has received.
pub(super) struct Audience<'a> {
    payloads: &'a Payloads,
    orders: Vec<InOrder>,
    /// How many payloads arrived correctly.
    pub delivered: u64,
    /// Where latencies are collected, if they are measured.
    latencies: Option<(Clock, Latencies)>,
    /// A subscriber that may miss messages and may be closed.
    pub exempt: Option<usize>,
    /// How the exempt subscriber ended.
    pub ending: Option<Ending>,
}

impl<'a> Audience<'a> {
    pub fn new(payloads: &'a Payloads, subscribers: u32) -> Self {
        Self {
            payloads,
            orders: vec![InOrder::of(PUBLISHER_ID); subscribers as usize],
            delivered: 0,
            latencies: None,
            exempt: None,
            ending: None,
        }
    }

    /// How many messages the slowest subscriber that counts has received.
    pub fn slowest(&self) -> u32 {
        let counts = self.orders.iter().enumerate();
        counts.filter(|&(index, _)| self.exempt != Some(index + 1)).map(|(_, order)| order.count()).min().unwrap_or(0)
    }

    /// How many deliveries are missing once `sent` messages have been sent.
    fn missing(&self, sent: u32) -> u64 {
        let counts = self.orders.iter().enumerate().filter(|&(index, _)| self.exempt != Some(index + 1));
        counts.map(|(_, order)| u64::from(sent - order.count().min(sent))).sum()
    }
}

impl App for Audience<'_> {
    fn on_payload(&mut self, _: &mut Conns, conn: usize, delivery: Delivery<'_>) -> Result<(), Fault> {
        if self.exempt == Some(conn) {
            return Ok(());
        }
        let order = conn.checked_sub(1).and_then(|index| self.orders.get_mut(index));
        let order = order.ok_or_else(|| Fault::Unexpected { conn, shown: crate::fault::shown(delivery.payload) })?;
        let stamp = order.take(self.payloads, conn, delivery.payload)?;
        self.delivered += 1;
        if let Some((clock, latencies)) = &mut self.latencies {
            latencies.push(clock.now().saturating_sub(stamp.time));
        }
        Ok(())
    }

    fn on_end(&mut self, conn: usize, ending: Ending) -> Result<(), Fault> {
        if self.exempt == Some(conn) {
            self.ending = Some(ending);
            Ok(())
        } else {
            Err(Fault::Closed { conn, ending })
        }
    }
}

/// The publisher, and what it has sent.
pub(super) struct Source<'a> {
    payloads: &'a Payloads,
    scratch: Vec<u8>,
    /// How many messages were sent.
    pub sent: u32,
}

impl<'a> Source<'a> {
    pub fn new(payloads: &'a Payloads) -> Self {
        Self { payloads, scratch: Vec::new(), sent: 0 }
    }

    fn publish(&mut self, protocol: &impl Protocol, conns: &mut Conns, time: u64) {
        self.payloads.write(&mut self.scratch, Stamp { publisher: PUBLISHER_ID, number: self.sent, time });
        protocol.publish(conns, PUBLISHER, self.sent, &self.scratch);
        self.sent += 1;
    }

    /// Fills the window when half of it has been received, so that the server always has a batch of
    /// work.
    pub fn fill(&mut self, protocol: &impl Protocol, conns: &mut Conns, slowest: u32, window: u32) {
        if self.sent - slowest <= window / 2 {
            while self.sent - slowest < window {
                self.publish(protocol, conns, 0);
            }
        }
    }
}

pub(super) fn roles(subscribers: u32) -> Vec<Role> {
    std::iter::once(Role::Publisher).chain((0..subscribers).map(Role::Subscriber)).collect()
}

/// Receives what is still in flight. It is a fault if messages do not arrive.
pub(super) fn drain<P: Protocol>(session: &mut Session<'_, P>, sent: u32, audience: &mut Audience<'_>) -> Result<(), Fault> {
    let start = Instant::now();
    loop {
        let missing = audience.missing(sent);
        if missing == 0 {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(Fault::Missing { missing, seconds: PATIENCE.as_secs() });
        }
        session.turn(Some(Duration::from_millis(50)), audience)?;
    }
}

/// As fast as the slowest subscriber allows.
pub(super) fn saturated<P: Protocol>(
    case: &Case,
    subscribers: u32,
    window: u32,
    (server, mut protocol): (Server, P),
) -> Result<Findings, RunError> {
    let payloads = Payloads::new(case.payload);
    let roles = roles(subscribers);
    protocol.prepare(&roles)?;
    let mut session = Session::new(&protocol)?;
    session.connect(&roles)?;
    session.settle(Duration::from_millis(100))?;

    let mut source = Source::new(&payloads);
    let mut audience = Audience::new(&payloads, subscribers);
    let mut run_for = |session: &mut Session<'_, P>, audience: &mut Audience<'_>, time: Duration| {
        let start = Instant::now();
        while start.elapsed() < time {
            source.fill(&protocol, &mut session.net.conns, audience.slowest(), window);
            session.turn(Some(Duration::from_millis(100)), audience)?;
        }
        Ok::<u32, Fault>(source.sent)
    };
    run_for(&mut session, &mut audience, case.warm_up)?;
    let (before, span) = (audience.delivered, server.measure()?);
    let mut sent = run_for(&mut session, &mut audience, case.measured)?;
    let begun = Instant::now();
    while audience.delivered == before && begun.elapsed() < PATIENCE {
        sent = run_for(&mut session, &mut audience, MORE)?;
    }
    let (count, cost) = (audience.delivered - before, span.end()?);
    drain(&mut session, sent, &mut audience)?;

    let mut findings = Findings::default();
    let bytes = count as f64 * payloads.size() as f64;
    findings.add("cpu", "us/delivery", cost.per(count));
    findings.add("rate", "deliveries/s", cost.rate(count));
    findings.add("cpu_per_gb", "s/GB", cost.server.as_secs_f64() / (bytes / 1e9).max(1e-9));
    findings.add_loads("delivery", &cost, count);
    Ok(findings)
}

/// At a fixed pace.
pub(super) fn paced<P: Protocol>(
    case: &Case,
    subscribers: u32,
    rate: f64,
    (server, mut protocol): (Server, P),
) -> Result<Findings, RunError> {
    let payloads = Payloads::new(case.payload);
    let roles = roles(subscribers);
    protocol.prepare(&roles)?;
    let mut session = Session::new(&protocol)?;
    session.connect(&roles)?;
    session.settle(Duration::from_millis(100))?;

    let clock = Clock::start();
    let mut source = Source::new(&payloads);
    let mut audience = Audience::new(&payloads, subscribers);
    let mut pace = Pace::new(0, rate);
    let mut run_for = |session: &mut Session<'_, P>, audience: &mut Audience<'_>, span: Duration| {
        let start = Instant::now();
        while start.elapsed() < span {
            while let Some((_, at)) = pace.due(clock.now()) {
                source.publish(&protocol, &mut session.net.conns, at);
            }
            session.turn(Some(Duration::ZERO), audience)?;
        }
        Ok::<u32, Fault>(source.sent)
    };
    run_for(&mut session, &mut audience, case.warm_up)?;
    audience.latencies = Some((clock, Latencies::default()));
    let (before, span) = (audience.delivered, server.measure()?);
    let mut sent = run_for(&mut session, &mut audience, case.measured)?;
    let begun = Instant::now();
    while audience.delivered == before && begun.elapsed() < PATIENCE {
        sent = run_for(&mut session, &mut audience, MORE)?;
    }
    let (count, cost) = (audience.delivered - before, span.end()?);
    drain(&mut session, sent, &mut audience)?;

    let mut findings = Findings::default();
    findings.add("cpu", "us/delivery", cost.per(count));
    if let Some((_, latencies)) = &mut audience.latencies {
        findings.add("p50", "us", latencies.quantile(0.5));
        findings.add("p99", "us", latencies.quantile(0.99));
    }
    findings.add("rate", "deliveries/s", cost.rate(count));
    findings.add_loads("delivery", &cost, count);
    Ok(findings)
}

/// The connections of the subscribers.
pub(super) fn subscriber_conns(subscribers: u32) -> Range<usize> {
    1..subscribers as usize + 1
}
