//! `agent-bridge`: the daemon and the command line.
//!
//! Owns the process: allocator, arguments, configuration, logging, the runtime and the exit code.
//! The broker and the edge are libraries that [`cli::serve`] starts.

mod cli;
mod demo;

use std::process::ExitCode;

use clap::Parser;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run(cli::Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("agent-bridge: {}", explain(&error));
        ExitCode::FAILURE
    })
}

/// The error with its causes. A cause that an error already contains is not repeated.
fn explain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        before if before.contains(&cause) => told,
        before => format!("{before}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let error = anyhow::anyhow!("no such file").context("cannot read x: no such file").context("starting");
        assert_eq!(explain(&error), "starting: cannot read x: no such file");
    }
}
