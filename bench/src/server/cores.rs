//! The cores of server and generator, and the limit on open files.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// The cores of server and generator; `None` if the system chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    server: Option<usize>,
    generator: Option<usize>,
}

impl Cores {
    /// Binds server and generator to these two cores, if they exist and may be used.
    pub fn pinned(server: usize, generator: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if cores < 2 { Self::unpinned() } else { Self { server: Some(server), generator: Some(generator) } }
    }

    /// Lets the system choose.
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

    /// Binds the calling thread to the generator's core.
    pub fn pin_generator(&self) -> io::Result<()> {
        self.generator.map_or(Ok(()), pin)
    }

    /// Calls `start` on the server's core. The processes that it starts stay there.
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

/// Raises the limit on open files of this process and its children to the hard limit. Returns that
/// limit.
pub fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let raised = if setrlimit(Resource::Nofile, wanted).is_ok() { limit.maximum } else { limit.current };
    raised.unwrap_or(u64::MAX)
}
