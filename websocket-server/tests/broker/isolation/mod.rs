//! No history of anything that peers can do on their sockets lets one user receive or learn of what
//! is another's.
//!
//! Random histories run against a real broker: connecting (by name, with a resume, acknowledging
//! oneself or not), logging in in place and by a new connection, old credentials after a login,
//! messages of every kind, inboxes, topics, history, receipts, requests. What is said carries the
//! name of whose it is. Each frame that anybody is sent is looked through for names that are not
//! theirs to know (`watch`), and what is refused must be refused in the same words whether it
//! exists or not (`world::World::probe`).

mod owners;
mod steps;
mod watch;
mod world;

use proptest::test_runner::{Config, TestRunner};

use self::{steps::histories, watch::Seen, world::World};

/// Histories of the short form; `PROPTEST_CASES` asks for more.
const HISTORIES: u32 = 32;

#[test]
fn no_peer_receives_or_detects_messages_of_others_on_real_sockets() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(HISTORIES);
    let config = Config { cases, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let seen = std::cell::RefCell::new(Seen::default());
    let outcome = TestRunner::new(config).run(&histories(), |history| {
        let of_this = actix_rt::System::new().block_on(async {
            let mut world = World::new().await;
            for step in history {
                world.step(step).await?;
            }
            world.finish().await
        })?;
        seen.borrow_mut().add(&of_this);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let seen = seen.into_inner();
    println!("isolation: {cases} histories, {seen:?}");
    seen.check_that_much_happened(cases as usize);
}
