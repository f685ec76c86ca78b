//! The crate as its users see it, checked against the output of other libraries.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests say what they expect")]

mod logins;
mod published;
mod tokens;
