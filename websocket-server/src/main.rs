//! The broker as a separate process. `agent-bridge broker` does the same with a fuller command
//! line.

use std::process::ExitCode;

use common::config::Role;
use transport::process;

fn main() -> ExitCode {
    process::run("websocket-server", Role::Broker, websocket_server::faults, async |settings| {
        Ok(websocket_server::start(settings).await?)
    })
}
