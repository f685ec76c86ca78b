//! The stages of a broker's life, and the one failure that ends it early.

use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

use tokio::sync::watch;

/// Whether the broker accepts new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Readiness {
    /// Not yet.
    Starting,
    /// Yes.
    Ready,
    /// No longer.
    Draining,
}

impl Readiness {
    /// Its name in statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// The stage that a broker is in. Read at each handshake.
#[derive(Debug)]
pub struct Lifecycle {
    readiness: AtomicU8,
    drains: watch::Sender<bool>,
    router_died: watch::Sender<bool>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            readiness: AtomicU8::new(Readiness::Starting as u8),
            drains: watch::Sender::new(false),
            router_died: watch::Sender::new(false),
        }
    }
}

impl Lifecycle {
    /// Whether the broker accepts new connections.
    pub fn readiness(&self) -> Readiness {
        match self.readiness.load(SeqCst) {
            0 => Readiness::Starting,
            1 => Readiness::Ready,
            _ => Readiness::Draining,
        }
    }

    /// Sets whether it accepts new connections.
    pub fn set_readiness(&self, readiness: Readiness) {
        self.readiness.store(readiness as u8, SeqCst);
        if readiness == Readiness::Draining {
            self.drains.send_replace(true);
        }
    }

    /// Resolves when the broker drains.
    pub async fn drains(&self) {
        // The sender lives as long as this.
        let _ = self.drains.subscribe().wait_for(|drains| *drains).await;
    }

    /// A router has died. Outside a drain the process must end.
    pub fn report_router_death(&self) {
        if self.readiness() != Readiness::Draining {
            tracing::error!("a router died");
            let _ = self.router_died.send(true);
        }
    }

    /// Becomes `true` when a router has died.
    pub fn watch_routers(&self) -> watch::Receiver<bool> {
        self.router_died.subscribe()
    }
}
