//! `agent-bridge`, `agent-bridge broker`, `agent-bridge web`: starts the parts and runs until told
//! to stop.
//!
//! [`transport::process`] handles the signals.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, Result};
use common::config::{ListenerTls, Role, Settings, dialable};
use common::dialect::Dialect;
use common::open_files;
use transport::process::{self, Signals};

use super::parts::Parts;

/// Files for a browser's connection when one process is broker and edge, and the edge dials:
/// browser to edge, and both ends of edge to broker. If the edge does not dial, only the first.
const FILES_THROUGH_BOTH: u64 = 3;
/// Files for a browser's connection at an edge alone: browser to edge, edge to broker.
const FILES_THROUGH_EDGE: u64 = 2;

/// Serves until a signal comes; the exit code says how it ended.
pub fn run(settings: Settings, role: Role, file_limit: Option<u64>) -> Result<ExitCode> {
    warn_of_few_files(&settings, role, file_limit);
    block_on(serve(settings, role))
}

/// Runs a future on the runtime that actors need.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    actix_rt::System::new().block_on(future)
}

async fn serve(mut settings: Settings, role: Role) -> Result<ExitCode> {
    let signals = Signals::listen().context("cannot listen for signals")?;
    let mut parts = Parts::start(&mut settings, role).await?;
    let demo = parts.start_demo(&settings, role);
    // A closed stdout is no reason not to serve.
    let _ = std::io::stdout().write_all(announcement(&settings, role, &parts.dialects(), demo).as_bytes());
    Ok(process::serve(parts, signals, settings.drain.timeout).await)
}

/// What a person who has just started it wants to know.
fn announcement(settings: &Settings, role: Role, dialects: &[(Dialect, SocketAddr)], demo: bool) -> String {
    let (broker, web) = (dialable(settings.broker.addr), dialable(settings.web.addr));
    let mut page = format!("agent-bridge {} is up\n", env!("CARGO_PKG_VERSION"));
    if role != Role::Broker {
        page.push_str(&format!("\n  open      {}://{web}\n", scheme("http", &settings.web.tls)));
    }
    if role == Role::Edge {
        page.push_str(&format!("  broker    {}\n", settings.broker_url()));
    } else {
        let (agents, stats) = (scheme("ws", &settings.broker.tls), scheme("http", &settings.broker.tls));
        page.push_str(&format!("\n  agents    {agents}://{broker}/ws/agent\n  stats     {stats}://{broker}/stats\n"));
    }
    for (dialect, addr) in dialects {
        let scheme = scheme("ws", &settings.web.tls);
        page.push_str(&format!("  {:<9} {scheme}://{}\n", dialect.as_str(), dialable(*addr)));
    }
    if demo {
        page.push_str(&format!("  demo      agent:{}\n", settings.demo.agent_id));
    }
    page.push('\n');
    page
}

/// The scheme, or its TLS variant.
fn scheme(plain: &'static str, tls: &ListenerTls) -> String {
    format!("{plain}{}", if tls.is_on() { "s" } else { "" })
}

fn warn_of_few_files(settings: &Settings, role: Role, limit: Option<u64>) {
    let files_each = match role {
        Role::Daemon if settings.web.broker_url.is_some() => FILES_THROUGH_BOTH,
        Role::Daemon => 1,
        Role::Edge => FILES_THROUGH_EDGE,
        Role::Broker | Role::Client => 1,
    };
    let wanted = settings.limits.max_connections;
    if let Some(room) = open_files::shortfall(limit, wanted, files_each) {
        tracing::warn!(room, wanted, "the limit on open files leaves room for fewer connections than limits.max_connections");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcement_names_what_was_started() {
        let mut settings = Settings::for_tests();
        settings.broker.addr = ([0, 0, 0, 0], 8080).into();
        settings.web.addr = ([127, 0, 0, 1], 8081).into();
        let dialects = [(Dialect::Supervisor, ([0, 0, 0, 0], 9999).into())];
        let daemon = announcement(&settings, Role::Daemon, &dialects, true);
        for expected in
            ["supervisor ws://127.0.0.1:9999\n", "http://127.0.0.1:8081\n", "ws://127.0.0.1:8080/ws/agent\n", "agent:demo\n"]
        {
            assert!(daemon.contains(expected), "{daemon}");
        }
        assert!(!announcement(&settings, Role::Broker, &[], false).contains("8081"));
        assert!(!announcement(&settings, Role::Edge, &[], false).contains("/ws/agent"));
    }
}
