//! `agent-bridge token`: signs tokens as the configured issuer would, and shows their content.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use common::config::{AuthSettings, Settings};
use common::secret::Secret;
use identity::Refusal;
use identity::siwe::Address;
use identity::tokens::{Algorithm, MintClaims, MintKey, MintSettings, Outcome, inspect, mint};
use serde_json::{Map, Value};
use web_server::logins::Logins;

use super::serve::block_on;

/// The longest token that is read.
const LONGEST: u64 = 64 * 1024;

/// Options of `agent-bridge token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Sign a token with auth.jwt_secret, or with a private key, and print it.
    ///
    /// It has the first of auth.jwt_issuer as `iss` and the first of auth.jwt_audience as `aud`.
    Mint(MintArgs),
    /// Read a token from stdin, check it as the edge would, and show what is in it.
    ///
    /// Not from the arguments, which every user of the machine can read. Exit code 0 if the token
    /// is good here.
    Inspect {
        /// Show the values of all claims, personal ones too.
        #[arg(long)]
        personal: bool,
    },
}

/// Whom the token is for.
#[derive(Debug, Args)]
struct MintArgs {
    /// `sub`: the user.
    subject: String,
    /// `wallet`: the address of the user's wallet.
    #[arg(long, value_name = "0x...", value_parser = address)]
    wallet: Option<Address>,
    /// One of the scopes in `scope`. Can be given several times.
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// A further claim; the value is JSON, or else text. Can be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = super::key_and_value)]
    claim: Vec<(String, String)>,
    /// How long the token is good for.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "1h")]
    expires: Duration,
    /// The private key in PEM (PKCS#8) to sign with instead of auth.jwt_secret.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The algorithm [default: HS256 with the secret].
    #[arg(long)]
    algorithm: Option<String>,
    /// The id under which the public key is published.
    #[arg(long, value_name = "KID")]
    key_id: Option<String>,
}

/// Executes the command, with these settings.
pub fn run(args: &TokenArgs, settings: &Settings) -> Result<ExitCode> {
    match &args.action {
        Action::Mint(args) => {
            let token = mint(&args.settings(&settings.auth)?, &args.claims()?, SystemTime::now())?;
            writeln!(std::io::stdout(), "{}", token.reveal())?;
            Ok(ExitCode::SUCCESS)
        }
        Action::Inspect { personal } => {
            let mut token = String::new();
            std::io::stdin().take(LONGEST).read_to_string(&mut token).context("the token cannot be read from stdin")?;
            show(token.trim(), *personal, settings)
        }
    }
}

fn show(token: &str, personal: bool, settings: &Settings) -> Result<ExitCode> {
    let now = SystemTime::now();
    let outcome = if settings.auth.jwt_issuers.is_empty() {
        Outcome::NotVerified
    } else {
        let (_, verifier) = Logins::new(settings).map_err(|faults| {
            let told: Vec<_> = faults.iter().map(|(key, fault)| format!("{key}: {fault}")).collect();
            anyhow::anyhow!(told.join("; "))
        })?;
        block_on(async { Ok(verifier.verify(token, now).await) })?.into()
    };
    let is_good = matches!(outcome, Outcome::Verified(_));
    match inspect(token, outcome, personal, now) {
        Ok(inspection) => writeln!(std::io::stdout(), "{inspection}")?,
        Err(error) => bail!("{error} ({})", error.code()),
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl MintArgs {
    fn settings(&self, auth: &AuthSettings) -> Result<MintSettings> {
        let first = |names: &[String], key| names.first().cloned().with_context(|| format!("{key} is not set"));
        let algorithm = match (&self.algorithm, &self.key) {
            (Some(name), _) => name.parse().with_context(|| format!("--algorithm {name:?}"))?,
            (None, None) => Algorithm::HS256,
            (None, Some(_)) => bail!("--key needs --algorithm, such as ES256"),
        };
        let key = match &self.key {
            Some(path) => {
                let pem = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
                MintKey::Pem(Secret::new(pem))
            }
            None if auth.jwt_secret.is_empty() => bail!("auth.jwt_secret is not set; sign with --key, or set it"),
            None => MintKey::Secret(auth.jwt_secret.clone()),
        };
        Ok(MintSettings {
            key,
            algorithm,
            key_id: self.key_id.clone(),
            issuer: first(&auth.jwt_issuers, "auth.jwt_issuer")?,
            audience: first(&auth.jwt_audiences, "auth.jwt_audience")?,
            lifetime: self.expires,
        })
    }

    fn claims(&self) -> Result<MintClaims> {
        let mut more = Map::new();
        for (name, value) in &self.claim {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.clone()));
            if more.insert(name.clone(), value).is_some() {
                bail!("--claim {name} is given twice");
            }
        }
        Ok(MintClaims { subject: self.subject.clone(), wallet: self.wallet, scopes: self.scope.clone(), more })
    }
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|fault| fault.to_string())
}
