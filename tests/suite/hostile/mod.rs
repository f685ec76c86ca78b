//! Strangers who mean harm: what they get, and what an honest client has left meanwhile.
//!
//! **To add an attack**
//! 1. Write it as a method of [`attacks::Attackers`] in a file of its own, `attacks_<what>.rs`,
//!    that calls `self.start` for each attacker: a future that goes on until it is dropped, comes
//!    from the address it is given (`wire::connect`, `Peer::dial_from`), breathes between two
//!    tries, and counts in `Counts` what it did and met.
//! 2. Add a row to [`siege::ATTACKS`]: its name, and a closure that takes an address of its own
//!    from `field.at(n)`.
//!
//! The row makes it part of
//! `beside_each_attack_an_honest_client_keeps_its_rate_at_the_default_limits`, with loopback
//! addresses that count, and of
//! `beside_each_attack_from_another_network_an_honest_client_keeps_its_rate`, where every setting
//! is as it comes: that test runs itself again in a network namespace in which strangers have
//! addresses of another network ([`namespace`]). It says so and does nothing where the machine does
//! not permit that. What an attack must not do at all (take a table, evict somebody's messages) is
//! a test of its own beside it: begin it with `namespace::enter` to have it run there too.

mod attacks;
mod attacks_agents;
mod attacks_shares;
mod fixation;
mod frames;
mod namespace;
mod requests;
mod siege;
pub mod wire;
