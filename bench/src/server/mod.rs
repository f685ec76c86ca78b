//! The servers under test as child processes: started on their own core, observed through /proc,
//! killed at the end.
//!
//! [`Lab`] knows where the programs are and which cores to use; a [`Server`] is one running
//! process. Every run has a fresh one, so that memory figures start from the same point.

mod cores;
mod launch;

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use cores::{Cores, raise_file_limit};
pub use launch::{Front, Lab, Programs, find};
use tempfile::TempDir;

use crate::measure::{Process, Span};

/// How long a server may take until it is ready.
const STARTUP: Duration = Duration::from_secs(20);
/// How often it is checked whether the server is ready.
const STEP: Duration = Duration::from_millis(10);

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program does not exist or cannot be run.
    #[error("{program} cannot be started: {error}")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        error: io::Error,
    },
    /// It ended or was not ready in time.
    #[error("{program} did not become ready ({why}); it said: {log}")]
    NotReady {
        /// The program.
        program: String,
        /// What happened instead.
        why: String,
        /// The end of its output.
        log: String,
    },
    /// The program is too old for what the case needs.
    #[error("{0}")]
    TooOld(&'static str),
    /// Another system call failed.
    #[error("preparing a server: {0}")]
    Io(#[from] io::Error),
}

/// A running server.
pub struct Server {
    child: Child,
    program: String,
    folder: TempDir,
    cores: Cores,
}

impl Server {
    /// Starts `command` with its output in a file of `folder`, on the server's core.
    fn spawn(mut command: Command, folder: TempDir, cores: Cores) -> Result<Self, StartError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let log = File::create(folder.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = cores.on_server_core(|| command.spawn());
        let child = child.map_err(|error| StartError::Spawn { program: program.clone(), error })?;
        Ok(Self { child, program, folder, cores })
    }

    /// Waits until `ready` returns `true`.
    fn wait(mut self, mut ready: impl FnMut() -> bool) -> Result<Self, StartError> {
        let start = Instant::now();
        loop {
            if ready() {
                return Ok(self);
            }
            let why = match self.child.try_wait()? {
                Some(status) => format!("it ended with {status}"),
                None if start.elapsed() > STARTUP => format!("{} s passed", STARTUP.as_secs()),
                None => {
                    std::thread::sleep(STEP);
                    continue;
                }
            };
            return Err(StartError::NotReady { program: self.program.clone(), why, log: self.log() });
        }
    }

    /// The process, to be measured.
    pub fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    /// Starts to measure what the server costs.
    pub fn measure(&self) -> io::Result<Span> {
        Span::begin(self.process(), self.cores)
    }

    /// The end of what the server printed.
    fn log(&self) -> String {
        tail(&self.folder.path().join("log"))
    }
}

impl Drop for Server {
    /// Kills the process. A drain of thousands of connections would take too long. If the process
    /// has ended already, that is printed.
    fn drop(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            eprintln!("{} ended by itself ({status}); it said: {}", self.program, self.log());
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn tail(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes.get(bytes.len().saturating_sub(800)..).unwrap_or_default()).trim().to_owned();
    if text.is_empty() { "nothing".into() } else { text }
}

/// A loopback address that nothing listens at.
fn free_addr() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
