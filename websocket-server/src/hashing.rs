//! Hashes of what names something here: addresses, ids, keys of streams.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::LazyLock,
};

/// A secret of the process: nobody can aim at another's entry in a table.
static HASH: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The hash of a name. Nobody outside can tell which two names have the same.
pub fn hash(name: impl Hash) -> u64 {
    HASH.hash_one(name)
}
