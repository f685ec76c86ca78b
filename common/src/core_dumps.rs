//! Core files would hold every secret and every message in a process's memory.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Prevents the kernel from writing a core file when this process crashes. The hard limit stays, so
/// an operator can raise the limit of the running process again (`prlimit --core`).
pub fn forbid() {
    let limit = Rlimit { current: Some(0), maximum: getrlimit(Resource::Core).maximum };
    // A process may always lower its own limit.
    if let Err(error) = setrlimit(Resource::Core, limit) {
        tracing::warn!(%error, "core files cannot be disabled");
    }
}
