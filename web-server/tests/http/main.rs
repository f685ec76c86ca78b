//! The edge over real sockets, as a browser, a program and the broker see it.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests say what they expect")]

mod addresses;
mod assets;
mod beside;
mod broker;
mod browser;
mod calls;
mod client;
mod harness;
mod hosts;
mod issuer_keys;
mod lifecycle;
mod limits;
mod logins;
mod program;
mod proxy;
mod sessions;
mod sites;
mod status;
mod tls;
mod tokens;
mod upstream;
mod wallet;
