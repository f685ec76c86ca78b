//! Messages that wait while the store is asked for the newest number of their channel.

use common::error::ErrorCode;
use foldhash::HashMap;
use store::ChannelName;

use crate::actors::router::Dispatch;

/// Messages that may wait in one shard. Those beyond are refused with `inbox_busy`.
const MOST: usize = 1024;
/// The same in bytes of their frames. One always may.
const MOST_BYTES: usize = 16 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Loading {
    channels: HashMap<ChannelName, Vec<Dispatch>>,
    messages: usize,
    bytes: usize,
}

impl Loading {
    /// Whether messages of a channel wait.
    pub(super) fn holds(&self, channel: &ChannelName) -> bool {
        self.channels.contains_key(channel)
    }

    /// Has a message wait behind the others of its channel.
    ///
    /// # Errors
    /// `inbox_busy`: there is no room.
    pub(super) fn push(&mut self, channel: &ChannelName, dispatch: Dispatch) -> Result<(), ErrorCode> {
        let bytes = dispatch.message.frame.len();
        if self.messages >= MOST || (self.messages > 0 && self.bytes + bytes > MOST_BYTES) {
            return Err(ErrorCode::InboxBusy);
        }
        self.messages += 1;
        self.bytes += bytes;
        self.channels.entry(channel.clone()).or_default().push(dispatch);
        Ok(())
    }

    /// Those that waited, in order.
    pub(super) fn take(&mut self, channel: &ChannelName) -> Vec<Dispatch> {
        let waiting = self.channels.remove(channel).unwrap_or_default();
        self.messages -= waiting.len();
        self.bytes -= waiting.iter().map(|dispatch| dispatch.message.frame.len()).sum::<usize>();
        waiting
    }
}
