//! Fan-out in which one subscriber never reads: its effect on the others and on memory, and how it
//! is closed.

use std::time::{Duration, Instant};

use super::fanout::{Audience, PUBLISHER, Source, drain, roles, subscriber_conns};
use super::{Findings, RunError};
use crate::fault::Fault;
use crate::measure::Cost;
use crate::net::Ending;
use crate::payload::Payloads;
use crate::plan::Case;
use crate::protocol::Protocol;
use crate::server::{Server, StartError};
use crate::session::Session;

/// If nothing is delivered for this long, the stuck subscriber blocks the others.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to read from the stuck connection at the end, to see how it was closed.
const POST_MORTEM: Duration = Duration::from_secs(2);

/// The parameters.
pub(super) struct Stall {
    pub subscribers: u32,
    pub window: u32,
    pub bytes: u64,
    pub closed_within: Duration,
}

/// The results of one of the two flows.
struct Flow {
    count: u64,
    cost: Cost,
    peak_kib: u64,
    ending: Option<Ending>,
}

/// Runs both flows, each with a server of its own.
pub(super) fn run<P: Protocol>(
    case: &Case,
    stall: &Stall,
    start: &mut impl FnMut() -> Result<(Server, P), StartError>,
) -> Result<Findings, RunError> {
    let healthy = flow(case, stall, false, start()?)?;
    let stuck = flow(case, stall, true, start()?)?;
    let kept = 100.0 * stuck.cost.rate(stuck.count) / healthy.cost.rate(healthy.count).max(1.0);
    let mut findings = Findings::default();
    findings.add("kept", "% of rate", kept);
    findings.add("peak_memory", "MiB", stuck.peak_kib as f64 / 1024.0);
    findings.add("peak_memory_healthy", "MiB", healthy.peak_kib as f64 / 1024.0);
    findings.add("rate", "deliveries/s", stuck.cost.rate(stuck.count));
    findings.add("rate_healthy", "deliveries/s", healthy.cost.rate(healthy.count));
    findings.add("cpu", "us/delivery", stuck.cost.per(stuck.count));
    findings.add_loads("delivery", &stuck.cost, stuck.count);
    findings.notes.push(match stuck.ending {
        Some(ending) => format!("the stuck one was closed: {ending}"),
        None => format!("the stuck one was still connected after {} s", stall.closed_within.as_secs()),
    });
    Ok(findings)
}

fn flow<P: Protocol>(case: &Case, stall: &Stall, stuck: bool, (server, mut protocol): (Server, P)) -> Result<Flow, RunError> {
    let payloads = Payloads::new(case.payload);
    let roles = roles(stall.subscribers);
    protocol.prepare(&roles)?;
    let mut session = Session::new(&protocol)?;
    session.connect(&roles)?;
    session.settle(Duration::from_millis(100))?;

    let mut audience = Audience::new(&payloads, stall.subscribers);
    // It does not count in either flow, so that both deliver the same number.
    let last = subscriber_conns(stall.subscribers).next_back().unwrap_or(PUBLISHER);
    audience.exempt = Some(last);
    if stuck {
        session.set_stuck(last, true, &mut audience)?;
    }
    let mut source = Source::new(&payloads);
    let wanted = stall.bytes / payloads.size() as u64;
    let begun = Instant::now();
    let span = server.measure()?;
    let mut progress = (0, begun);
    while audience.delivered < wanted {
        source.fill(&protocol, &mut session.net.conns, audience.slowest(), stall.window);
        session.turn(Some(Duration::from_millis(100)), &mut audience)?;
        if audience.delivered > progress.0 {
            progress = (audience.delivered, Instant::now());
        } else if progress.1.elapsed() > PATIENCE {
            return Err(Fault::Missing { missing: wanted - audience.delivered, seconds: PATIENCE.as_secs() }.into());
        }
    }
    let (count, cost) = (audience.delivered, span.end()?);
    drain(&mut session, source.sent, &mut audience)?;
    if stuck {
        await_end(&mut session, &mut audience, last, stall.closed_within.saturating_sub(begun.elapsed()))?;
    }
    Ok(Flow { count, cost, peak_kib: server.process().peak_rss_kib()?, ending: audience.ending })
}

/// Waits until the stuck connection is closed, then reads how.
fn await_end<P: Protocol>(
    session: &mut Session<'_, P>,
    audience: &mut Audience<'_>,
    stuck: usize,
    wait: Duration,
) -> Result<(), Fault> {
    let start = Instant::now();
    while start.elapsed() < wait && !session.net.conns.hung_up(stuck) {
        session.turn(Some(Duration::from_millis(50)), audience)?;
    }
    session.set_stuck(stuck, false, audience)?;
    let start = Instant::now();
    while start.elapsed() < POST_MORTEM && audience.ending.is_none() {
        session.turn(Some(Duration::from_millis(50)), audience)?;
    }
    Ok(())
}
