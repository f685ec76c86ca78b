//! The command line: its arguments, and the part of the program that executes each.

mod check_config;
mod healthcheck;
mod key;
mod parts;
mod serve;
mod store_command;
#[cfg(test)]
mod tests;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use common::config::{Flag, Inputs, Loaded, Role, Settings, load};
use common::dialect::Dialect;
use common::{open_files, telemetry};
use transport::process::Stops;

use crate::demo::{self, DemoOptions};

/// A message broker daemon between AI agent runtimes and the people and programs that use agents.
///
/// Without a command it starts the broker and the edge together.
#[derive(Debug, Parser)]
#[command(name = "agent-bridge", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the broker alone.
    Broker,
    /// Start the edge alone.
    Web,
    /// Run the demo agent: it answers questions at a broker.
    Demo(DemoArgs),
    /// Check the configuration, and print every setting in force with its source.
    CheckConfig(check_config::CheckConfigArgs),
    /// Say where the load generator is: it is a program of its own.
    #[command(hide = true)]
    Bench(BenchArgs),
    /// Check, back up, restore or compact the store of durable messages.
    Store(store_command::StoreArgs),
    /// Make, list and revoke the keys of agents.
    Key(key::KeyArgs),
    /// Sign tokens of the configured issuer, and show what is in one.
    Token(token::TokenArgs),
    /// Ask the running daemon whether it is ready; exit code 0 if it is.
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Options of every command that reads the configuration.
#[derive(Debug, Args)]
struct Options {
    /// The configuration file [default: agent-bridge.toml, where it exists].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the broker listens.
    #[arg(long, global = true, value_name = "IP:PORT")]
    broker_addr: Option<String>,
    /// Where the edge listens.
    #[arg(long, global = true, value_name = "IP:PORT")]
    web_addr: Option<String>,
    /// Any setting, such as limits.max_depth=32; docs/configuration.md lists them.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// Serve clients of these other systems; docs/dialects.md says more.
    #[arg(long, global = true, value_name = "NAME,…", value_delimiter = ',', value_parser = dialect)]
    dialect: Vec<Dialect>,
    /// Run the demo agent inside.
    #[arg(long, global = true)]
    demo: bool,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// The broker it dials [default: at broker.addr].
    #[arg(long, value_name = "ws[s]://HOST:PORT")]
    url: Option<String>,
    /// The id it registers with [default: demo].
    #[arg(long)]
    agent_id: Option<String>,
}

#[derive(Debug, Args)]
struct BenchArgs {
    /// Options of the load generator.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Executes the command.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let options = arguments.options;
    common::core_dumps::forbid();
    let limit = open_files::raise_limit();
    match arguments.command {
        None => serve::run(start(&options, Vec::new(), Role::Daemon)?, Role::Daemon, limit),
        Some(Command::Broker) => serve::run(start(&options, Vec::new(), Role::Broker)?, Role::Broker, limit),
        Some(Command::Web) => serve::run(start(&options, Vec::new(), Role::Edge)?, Role::Edge, limit),
        Some(Command::Demo(args)) => run_demo(&start(&options, args.flags(), Role::Client)?),
        Some(Command::CheckConfig(args)) => check_config::run(&args, &options),
        Some(Command::Bench(args)) => Ok(refuse_bench(&args)),
        Some(Command::Store(args)) => store_command::run(&args, &read(&options, Vec::new(), Role::Client)?.settings().clone()),
        Some(Command::Key(args)) => key::run(&args, read(&options, Vec::new(), Role::Client)?.settings()),
        Some(Command::Token(args)) => token::run(&args, read(&options, Vec::new(), Role::Client)?.settings()),
        Some(Command::Healthcheck(args)) => {
            healthcheck::run(&args, &read(&options, Vec::new(), Role::Client)?.settings().clone())
        }
    }
}

/// Reads the configuration. Nothing is made or opened.
fn read(options: &Options, more: Vec<Flag>, role: Role) -> Result<Loaded> {
    let mut flags = options.flags();
    flags.extend(more);
    Ok(load(&Inputs::from_process(options.config.clone(), flags), role)?)
}

/// Reads the configuration, and lets every part that will use it validate it, before anything is
/// made or opened.
fn checked(options: &Options, more: Vec<Flag>, role: Role) -> Result<Loaded> {
    let loaded = read(options, more, role)?;
    let settings = loaded.settings();
    let mut found = Vec::new();
    if matches!(role, Role::Daemon | Role::Broker) {
        found.extend(websocket_server::faults(settings));
    }
    if matches!(role, Role::Daemon | Role::Edge) {
        found.extend(web_server::faults(settings));
    }
    Ok(loaded.checked(found)?)
}

/// Reads and validates the configuration, sets up logging, and makes the secrets that nobody set.
fn start(options: &Options, more: Vec<Flag>, role: Role) -> Result<Settings> {
    let loaded = checked(options, more, role)?;
    telemetry::init(&loaded.settings().log)?;
    Ok(loaded.resolve_secrets()?)
}

fn run_demo(settings: &Settings) -> Result<ExitCode> {
    let options = DemoOptions::from_settings(settings)?;
    serve::block_on(async {
        let mut stops = Stops::listen()?;
        let stop = async {
            stops.next().await;
        };
        demo::run(options, stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Names the benchmark program, and fails as for a wrong command line.
fn refuse_bench(args: &BenchArgs) -> ExitCode {
    let options = args.options.iter().map(|option| format!(" {option}")).collect::<String>();
    eprintln!("agent-bridge: the load generator is a program of its own: cargo run --release -p bench --{options}");
    ExitCode::from(2)
}

impl Options {
    /// The flags in the order of precedence: `--set` overrides the named ones.
    fn flags(&self) -> Vec<Flag> {
        let named = [
            flag("broker.addr", "--broker-addr", self.broker_addr.as_deref()),
            flag("web.addr", "--web-addr", self.web_addr.as_deref()),
            flag("demo.enabled", "--demo", self.demo.then_some("true")),
        ];
        let dialects = self.dialect.iter().map(|dialect| Flag {
            key: format!("dialects.{}.enabled", dialect.as_str()),
            value: "true".to_owned(),
            origin: "--dialect".to_owned(),
        });
        let set = self.set.iter().filter_map(|(key, value)| flag(key, "--set", Some(value)));
        named.into_iter().flatten().chain(dialects).chain(set).collect()
    }
}

impl DemoArgs {
    fn flags(&self) -> Vec<Flag> {
        let named =
            [flag("demo.url", "--url", self.url.as_deref()), flag("demo.agent_id", "--agent-id", self.agent_id.as_deref())];
        named.into_iter().flatten().collect()
    }
}

fn flag(key: &str, origin: &str, value: Option<&str>) -> Option<Flag> {
    value.map(|value| Flag { key: key.to_owned(), value: value.to_owned(), origin: origin.to_owned() })
}

fn dialect(name: &str) -> Result<Dialect, String> {
    let names = || Dialect::ALL.map(Dialect::as_str).join(", ");
    Dialect::ALL.into_iter().find(|dialect| dialect.as_str() == name).ok_or_else(|| format!("the dialects are: {}", names()))
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as key=value")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}
