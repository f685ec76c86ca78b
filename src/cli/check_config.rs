//! `agent-bridge check-config`: prints the settings in force with their sources, and the generated
//! references.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use common::config::{self, Role};
use transport::metrics::markdown;

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
    /// docs/metrics.md
    Metrics,
}

/// Prints, or fails with every fault.
pub fn run(args: &CheckConfigArgs, options: &Options) -> Result<ExitCode> {
    let page = match args.print_reference {
        Some(Reference::Markdown) => config::markdown(),
        Some(Reference::Env) => config::env_example(),
        Some(Reference::Errors) => common::error::reference_markdown(),
        Some(Reference::Metrics) => metrics_reference(),
        None => checked(options, Vec::new(), args.role.into())?.listing(),
    };
    std::io::stdout().write_all(page.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The content of docs/metrics.md.
fn metrics_reference() -> String {
    format!(
        "# Metrics\n\n{}\n\n## Broker\n{}\n## Edge\n{}",
        METRICS_INTRODUCTION.trim(),
        markdown(websocket_server::METRICS),
        markdown(web_server::METRICS)
    )
}

const METRICS_INTRODUCTION: &str = "
This page is generated from the code by `make docs`.

`GET /metrics` at the broker and at the edge answers in OpenMetrics text, which Prometheus reads. It
is for those who may see `/stats`: with `OPERATOR_TOKEN` set, for requests with
`Authorization: Bearer <token>`; without one, for requests from the same machine. Counters begin at
0 when the process starts. No label has a value that a client chooses, so the number of series does
not depend on who connects.

```yaml
scrape_configs:
  - job_name: agent-bridge
    authorization: { credentials_file: /etc/prometheus/operator-token }
    static_configs:
      - targets: [\"bridge.example:8080\", \"bridge.example:8081\"]
```
";

impl From<Part> for Role {
    fn from(part: Part) -> Self {
        match part {
            Part::Daemon => Self::Daemon,
            Part::Broker => Self::Broker,
            Part::Web => Self::Edge,
        }
    }
}
