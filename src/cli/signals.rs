//! The signals that ask the process to stop, the one that asks it to read its files again, and one that must not end it.

use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// A signal that came.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
}

impl Signals {
    /// Listens from now on; must be called inside the runtime.
    pub fn listen() -> Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        Ok(Self { terminate, interrupt })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }
}

/// Listens for SIGHUP, which ends the process otherwise; must be called inside the runtime.
pub fn hangups() -> Result<Signal> {
    signal(SignalKind::hangup()).context("cannot listen for SIGHUP")
}

/// Makes a write beyond the limit of a file's size fail like one to a full disk. Without this, SIGXFSZ ends the process.
pub fn survive_file_size_limit() -> Result<()> {
    let kind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // A signal that was listened for once never has its default effect again.
    signal(kind).map(drop).context("cannot listen for SIGXFSZ")
}

impl Stop {
    /// The exit code of a process that this signal ended: 128 and the signal's number.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Terminate => ExitCode::from(143),
            Self::Interrupt => ExitCode::from(130),
        }
    }
}
