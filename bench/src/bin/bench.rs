//! The load generator's command line.

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
    match bench::run(Options::parse().args) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
