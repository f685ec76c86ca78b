//! Hashes of names: addresses, ids, keys of streams.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::LazyLock,
};

/// The key is a secret of the process, so that nobody outside can find names with equal hashes.
static HASH: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The hash of a name. Nobody outside can tell which two names have the same.
pub fn hash(name: impl Hash) -> u64 {
    HASH.hash_one(name)
}
