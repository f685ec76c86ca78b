//! The bench on its own: the same as `agent-bridge bench`, with the daemon beside it as the server.

use std::process::ExitCode;

use bench::BenchArgs;
use clap::Parser;

/// Measures message servers.
#[derive(Parser)]
#[command(version)]
struct Options {
    #[command(flatten)]
    args: BenchArgs,
}

fn main() -> ExitCode {
    let mut args = Options::parse().args;
    if args.server.is_none() {
        let daemon = std::env::current_exe().ok().and_then(|this| Some(this.parent()?.join("agent-bridge")));
        args.server = daemon.filter(|path| path.is_file());
    }
    match bench::run(args) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
