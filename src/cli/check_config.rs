//! `agent-bridge check-config`: prints the settings in force with their sources, and the generated
//! references.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use common::config::{self, Role};

use super::{Options, checked};

/// Options of `agent-bridge check-config`.
#[derive(Debug, Args)]
pub struct CheckConfigArgs {
    /// What the configuration is for.
    #[arg(long, value_enum, default_value = "daemon")]
    role: Part,
    /// Print a generated reference instead.
    #[arg(long, value_enum, value_name = "WHICH")]
    print_reference: Option<Reference>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Part {
    Daemon,
    Broker,
    Web,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Reference {
    /// docs/configuration.md
    Markdown,
    /// .env.example
    Env,
    /// docs/errors.md
    Errors,
}

/// Prints, or fails with every fault.
pub fn run(args: &CheckConfigArgs, options: &Options) -> Result<ExitCode> {
    let page = match args.print_reference {
        Some(Reference::Markdown) => config::markdown(),
        Some(Reference::Env) => config::env_example(),
        Some(Reference::Errors) => common::error::reference_markdown(),
        None => checked(options, Vec::new(), args.role.into())?.listing(),
    };
    std::io::stdout().write_all(page.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

impl From<Part> for Role {
    fn from(part: Part) -> Self {
        match part {
            Part::Daemon => Self::Daemon,
            Part::Broker => Self::Broker,
            Part::Web => Self::Edge,
        }
    }
}
