//! The limit on open files, which bounds the number of connections.
//!
//! Systems give a process a low soft limit, often 1024, which it may raise up to the hard limit.
//! Every binary that opens many sockets does so at its start.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that a process needs besides its connections: listeners, logs, the store, runtime
/// internals.
const BESIDES: u64 = 256;

/// Raises the soft limit to the hard limit, and returns the limit in force. `None`: no limit.
pub fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// For how many of `wanted` connections there is room, if each takes `files_each`. `None`: for all
/// of them.
pub fn shortfall(limit: Option<u64>, wanted: usize, files_each: u64) -> Option<u64> {
    let room = limit?.saturating_sub(BESIDES) / files_each.max(1);
    (room < wanted as u64).then_some(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raised_limit_is_the_hard_one() {
        raise_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }

    #[test]
    fn a_shortfall_is_reported_if_there_is_one() {
        assert_eq!(shortfall(None, 20_000, 2), None);
        assert_eq!(shortfall(Some(1256), 1000, 1), None);
        assert_eq!(shortfall(Some(1256), 1001, 1), Some(1000));
        assert_eq!(shortfall(Some(100), 1, 2), Some(0));
    }
}
