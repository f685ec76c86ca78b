//! Core files, which would hold every secret and every message that a process had in memory.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Has the kernel write no core file of this process when it crashes. Whoever needs one can raise the limit of the running process
/// again (`prlimit --core`), since the hard limit stays.
pub fn forbid() {
    let limit = Rlimit { current: Some(0), maximum: getrlimit(Resource::Core).maximum };
    // Lowering a limit of one's own is always allowed.
    if let Err(error) = setrlimit(Resource::Core, limit) {
        tracing::warn!(%error, "core files cannot be forbidden");
    }
}
