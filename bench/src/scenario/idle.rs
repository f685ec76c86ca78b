//! Connections that are opened and then send nothing.

use std::time::Duration;

use super::{Findings, RunError};
use crate::protocol::{Protocol, Role};
use crate::server::Server;
use crate::session::Session;

/// How long to wait before the server's memory is read: longer than a heartbeat interval of 5 s.
const SETTLE: Duration = Duration::from_secs(6);
/// The same with few connections.
const SETTLE_FEW: Duration = Duration::from_millis(500);

/// Runs the scenario.
pub(super) fn run<P: Protocol>(connections: u32, (server, mut protocol): (Server, P)) -> Result<Findings, RunError> {
    let roles: Vec<Role> = (0..connections).map(Role::Idle).collect();
    protocol.prepare(&roles)?;
    let mut session = Session::new(&protocol)?;
    let before = server.process().rss_kib()?;
    let span = server.measure()?;
    let took = session.connect(&roles)?;
    let cost = span.end()?;
    session.settle(if connections < 1000 { SETTLE_FEW } else { SETTLE })?;
    let after = server.process().rss_kib()?;

    let mut findings = Findings::default();
    findings.add("memory", "KiB/connection", after.saturating_sub(before) as f64 / f64::from(connections));
    findings.add("connects", "1/s", f64::from(connections) / took.as_secs_f64().max(1e-9));
    findings.add("connect_cpu", "us/connection", cost.per(u64::from(connections)));
    findings.add_loads("connection", &cost, u64::from(connections));
    Ok(findings)
}
