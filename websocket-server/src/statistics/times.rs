//! How long things take, as distributions. What is on every message's way is measured by samples.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use actix::{Message, Recipient};
use parking_lot::Mutex;
use transport::metrics::{Histogram, exponential_buckets};

/// Of how many durable messages of a router one is measured.
pub const SAMPLED: u32 = 16;

/// The distributions of one broker.
#[derive(Debug)]
pub struct Times {
    /// How long work waits for a router, in seconds.
    pub router_wait: Histogram,
    /// From a durable message's dispatch to its confirmation, in seconds.
    pub confirmation: Histogram,
    probed: Mutex<Vec<Probed>>,
}

/// A router that is probed.
#[derive(Debug)]
struct Probed {
    router: Recipient<Probe>,
    is_waiting: Arc<AtomicBool>,
}

/// Asks a router how long its work waits: it goes through the router's mailbox as messages do.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Probe {
    sent: Instant,
    is_waiting: Arc<AtomicBool>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            // From 1 us to 4.2 s.
            router_wait: Histogram::new(exponential_buckets(1e-6, 4.0, 12)),
            // From 50 us to 26 s.
            confirmation: Histogram::new(exponential_buckets(50e-6, 2.0, 20)),
            probed: Mutex::new(Vec::new()),
        }
    }
}

impl Times {
    /// Adds a router to those that are probed.
    pub fn add_router(&self, router: Recipient<Probe>) {
        self.probed.lock().push(Probed { router, is_waiting: Arc::default() });
    }

    /// Sends each router a probe, if it has answered the last one.
    pub fn probe(&self) {
        self.probed.lock().retain(|probed| {
            if !probed.is_waiting.swap(true, Relaxed) {
                probed.router.do_send(Probe { sent: Instant::now(), is_waiting: Arc::clone(&probed.is_waiting) });
            }
            probed.router.connected()
        });
    }

    /// A router has reached a probe.
    pub fn on_probe(&self, probe: &Probe) {
        probe.is_waiting.store(false, Relaxed);
        self.router_wait.observe(probe.sent.elapsed().as_secs_f64());
    }
}
