//! Gives a connection's work to the router of its thread.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
};

use actix::{Actor, Addr, dev::SendError};

use super::{
    actor::RouterActor,
    work::{Attach, Detach, Work},
};
use crate::{broker::Broker, routing::Counters};

/// The handle of this thread's router. There is one per thread, shared by reference, so that the
/// mailbox's bound holds.
#[derive(Debug)]
pub struct Shard {
    broker: Weak<Broker>,
    router: Addr<RouterActor>,
    counters: Arc<Counters>,
}

thread_local! {
    static SHARDS: RefCell<Vec<Rc<Shard>>> = const { RefCell::new(Vec::new()) };
}

impl Shard {
    /// The shard of this thread, started at the first call.
    pub fn of(broker: &Arc<Broker>) -> Rc<Self> {
        SHARDS.with_borrow_mut(|shards| {
            shards.retain(|shard| shard.broker.strong_count() > 0 && shard.router.connected());
            let known = shards.iter().find(|shard| std::ptr::eq(shard.broker.as_ptr(), Arc::as_ptr(broker)));
            if let Some(shard) = known {
                return Rc::clone(shard);
            }
            let counters = broker.statistics.add_shard();
            let router = RouterActor::new(broker, &counters).start();
            broker.statistics.times.add_router(router.clone().recipient());
            let shard = Rc::new(Self { broker: Arc::downgrade(broker), router, counters });
            shards.push(Rc::clone(&shard));
            shard
        })
    }

    /// The counters of this shard.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Hands work to the router. Returns it if it did not fit into the mailbox.
    pub fn try_send(&self, work: Work) -> Option<Work> {
        self.counters.mailbox.fetch_add(1, Relaxed);
        let error = self.router.try_send(work).err()?;
        self.counters.mailbox.fetch_sub(1, Relaxed);
        match error {
            SendError::Full(work) => Some(work),
            // The router has ended, and the process will in a moment.
            SendError::Closed(_) => None,
        }
    }

    /// Registers a connection. Bounded by the number of connections, not by the mailbox: each does
    /// it once.
    pub fn attach(&self, attach: Attach) {
        self.router.do_send(attach);
    }

    /// Unregisters a connection. Bounded like [`Shard::attach`].
    pub fn detach(&self, detach: Detach) {
        self.router.do_send(detach);
    }
}
