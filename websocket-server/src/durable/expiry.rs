//! Messages that are of no more use (`ttl_ms`). They are checked at the moment of handing out,
//! because the store removes them only now and then.

use common::timestamp::unix_ms;

/// Whether a message that expires at this time, in milliseconds since 1970, has expired.
pub(super) fn has_expired(expires_at: Option<u64>) -> bool {
    // Most messages never expire, and need no clock.
    expires_at.is_some_and(|at| at <= unix_ms())
}
