//! The crate as its users see it, against what others' libraries make.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests say what they expect")]

mod logins;
mod published;
mod tokens;
