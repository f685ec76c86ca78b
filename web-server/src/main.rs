//! The edge as a separate process. `agent-bridge web` does the same with a fuller command line.

use std::process::ExitCode;

use common::config::Role;
use transport::process;

fn main() -> ExitCode {
    process::run("web-server", Role::Edge, web_server::faults, async |settings| Ok(web_server::start(settings)?))
}
