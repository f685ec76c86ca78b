//! The state machines of the channels in use.

use std::sync::Arc;

use foldhash::HashMap;
use parking_lot::Mutex;
use store::{ChannelFamily, ChannelName};

use super::ChannelMachine;

/// Channels that stay loaded although nothing is on its way, so that the next message need not ask
/// the store for their newest number.
const KEPT_LOADED: usize = 16_384;

/// See the module.
#[derive(Debug)]
pub(super) struct Active {
    machines: HashMap<ChannelName, Arc<Mutex<ChannelMachine>>>,
    /// The number of channels at which unused ones are removed.
    sweep_at: usize,
}

impl Default for Active {
    fn default() -> Self {
        Self { machines: HashMap::default(), sweep_at: 2 * KEPT_LOADED }
    }
}

impl Active {
    pub(super) fn get(&self, channel: &ChannelName) -> Option<Arc<Mutex<ChannelMachine>>> {
        self.machines.get(channel).map(Arc::clone)
    }

    pub(super) fn get_or_insert(&mut self, channel: &ChannelName) -> Arc<Mutex<ChannelMachine>> {
        if let Some(machine) = self.machines.get(channel) {
            return Arc::clone(machine);
        }
        if self.machines.len() >= self.sweep_at {
            self.sweep();
        }
        Arc::clone(self.machines.entry(channel.clone()).or_default())
    }

    pub(super) fn len(&self) -> usize {
        self.machines.len()
    }

    /// Removes those that nobody uses. A holder of one would work on a machine that nobody else
    /// sees.
    fn sweep(&mut self) {
        self.machines.retain(|channel, machine| {
            let is_held = Arc::strong_count(machine) > 1;
            is_held || channel.family() == ChannelFamily::Broadcast || !machine.lock().is_idle()
        });
        self.sweep_at = (2 * self.machines.len()).max(2 * KEPT_LOADED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::ConnectionId;

    #[test]
    fn unused_channels_make_room() {
        let channel = |number: usize| ChannelName::parse(&format!("topic:t{number}")).expect("a channel");
        let mut active = Active::default();
        let held = active.get_or_insert(&channel(0));
        active.get_or_insert(&channel(1)).lock().fall_behind(ConnectionId::next());
        let all = ChannelName::parse("broadcast:all").expect("a channel");
        active.get_or_insert(&all);
        for number in 2..6 * KEPT_LOADED {
            active.get_or_insert(&channel(number));
            assert!(active.len() <= 2 * KEPT_LOADED);
        }
        assert!(active.get(&channel(0)).is_some_and(|machine| Arc::ptr_eq(&machine, &held)));
        assert!(active.get(&channel(1)).is_some() && active.get(&all).is_some() && active.get(&channel(2)).is_none());
    }
}
