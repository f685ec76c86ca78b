//! `agent-bridge store`: operators' commands on the store's file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use common::audit::{Entry, Event};
use common::config::{Backend, Settings};
use store::operators::{self, Throttle};
use store::{EmbeddedStore, Store, StoreOptions};

use super::serve::block_on;

/// Arguments of the command.
#[derive(Debug, Args)]
pub struct StoreArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read the whole store and report; exit code 1 if something is wrong. The broker may serve
    /// meanwhile.
    Check,
    /// Copy the store to a new file. The broker may serve meanwhile.
    Backup {
        /// The file to make; it must not exist.
        to: PathBuf,
    },
    /// Put a backup in the store's place. The broker must be stopped; the replaced file is kept
    /// beside it.
    Restore {
        /// The backup.
        from: PathBuf,
    },
    /// Rewrite the store without its free pages. The broker must be stopped.
    Compact,
}

/// Executes the command.
pub fn run(args: &StoreArgs, settings: &Settings) -> Result<ExitCode> {
    if settings.store.backend == Backend::Memory {
        bail!("store.backend is `memory`: there is no file");
    }
    let folder: &Path = &settings.data.dir;
    match &args.action {
        Action::Check => return check(folder),
        Action::Backup { to } => {
            let made = operators::backup(folder, to, Throttle::default())?;
            println!("{}: {} bytes", to.display(), made.bytes);
        }
        Action::Restore { from } => {
            let restored = operators::restore(from, folder)?;
            println!("restored {} records", restored.records);
            if let Some(replaced) = restored.replaced {
                println!("the replaced store is in {}", replaced.display());
            }
            note(settings, &format!("restored the store from {}", from.display()));
        }
        Action::Compact => {
            let compacted = operators::compact(folder)?;
            println!("{} bytes before, {} after", compacted.before, compacted.after);
            note(settings, "compacted the store");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Records the command in the audit log, if there is one. A failure to record it does not undo it.
fn note(settings: &Settings, what: &str) {
    if !settings.store.audit {
        return;
    }
    let entry = Entry::new(Event::Admin, "operator", what, "command line");
    let noted = || -> Result<()> {
        let store = EmbeddedStore::open(&settings.data.dir, StoreOptions::default())?;
        block_on(async { Ok(store.audit(vec![entry]).await?) })
    };
    if let Err(error) = noted() {
        eprintln!("warning: this is not in the audit log: {error:#}");
    }
}

fn check(folder: &Path) -> Result<ExitCode> {
    let report = operators::check(folder)?;
    let epoch = report.epoch.map_or_else(|| "none (a backup)".to_owned(), |epoch| epoch.to_string());
    println!("schema    {}\nepoch     {epoch}\nnext seq  {}", report.schema, report.next_seq);
    println!("channels  {}\nrecords   {}, {} bytes", report.channels, report.records, report.bytes);
    println!("waiting   {}\nsessions  {}", report.unacked, report.sessions);
    for problem in &report.problems {
        println!("problem   {problem}");
    }
    if report.problems.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("the store is damaged: stop the broker and restore a backup");
    Ok(ExitCode::FAILURE)
}
