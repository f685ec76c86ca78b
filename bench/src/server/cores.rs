//! Which core does what, and how many files may be open.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// The cores of server and generator; `None`: wherever the system likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    server: Option<usize>,
    generator: Option<usize>,
}

impl Cores {
    /// Server and generator on these two cores, if there are two and they may be used.
    pub fn pinned(server: usize, generator: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if cores < 2 { Self::unpinned() } else { Self { server: Some(server), generator: Some(generator) } }
    }

    /// Wherever the system likes.
    pub fn unpinned() -> Self {
        Self { server: None, generator: None }
    }

    /// The server's core.
    pub fn server(&self) -> Option<usize> {
        self.server
    }

    /// The generator's core.
    pub fn generator(&self) -> Option<usize> {
        self.generator
    }

    /// Whether server and generator each have a core.
    pub fn are_pinned(&self) -> bool {
        self.server.is_some() && self.generator.is_some()
    }

    /// Keeps the calling thread on the generator's core from now on.
    pub fn pin_generator(&self) -> io::Result<()> {
        self.generator.map_or(Ok(()), pin)
    }

    /// Runs `start` on the server's core: what it starts stays there.
    pub fn on_server_core<T>(&self, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.server.map_or(Ok(()), pin)?;
        let started = start();
        self.pin_generator()?;
        started
    }
}

fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no such core"));
    }
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Raises the number of files this process and its children may open to the hard limit; that limit.
pub fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let raised = if setrlimit(Resource::Nofile, wanted).is_ok() { limit.maximum } else { limit.current };
    raised.unwrap_or(u64::MAX)
}
