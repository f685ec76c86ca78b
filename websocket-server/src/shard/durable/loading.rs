//! Messages that wait while the store is asked for the newest number of their channel.

use common::error::{ClientError, ErrorCode};
use foldhash::HashMap;
use store::ChannelName;
use transport::Reservation;

use crate::{
    holders::{Table, WAITING_BYTES, WAITING_MESSAGES},
    shard::dispatch::Dispatch,
};

/// A waiting message, with its places in the shared tables.
#[derive(Debug)]
struct Waiting {
    dispatch: Dispatch,
    _places: [Reservation; 2],
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Loading {
    channels: HashMap<ChannelName, Vec<Waiting>>,
    messages: usize,
    bytes: usize,
}

impl Loading {
    /// Whether messages of a channel wait.
    pub(super) fn holds(&self, channel: &ChannelName) -> bool {
        self.channels.contains_key(channel)
    }

    /// Adds a message behind the others of its channel.
    ///
    /// # Errors
    /// `inbox_busy`: there is no room, or its sender has used up its share.
    pub(super) fn push(&mut self, channel: &ChannelName, dispatch: Dispatch) -> Result<(), ClientError> {
        let bytes = dispatch.message.frame.len();
        if self.messages >= WAITING_MESSAGES || (self.messages > 0 && self.bytes + bytes > WAITING_BYTES) {
            return Err(ClientError::new(ErrorCode::InboxBusy).about(channel.to_string()));
        }
        let take = |table, amount| dispatch.from.take(table, amount).map_err(|error| error.about(channel.to_string()));
        let places = [take(Table::WaitingMessages, 1)?, take(Table::WaitingBytes, bytes)?];
        self.messages += 1;
        self.bytes += bytes;
        self.channels.entry(channel.clone()).or_default().push(Waiting { dispatch, _places: places });
        Ok(())
    }

    /// Removes and returns those that waited, in order.
    pub(super) fn take(&mut self, channel: &ChannelName) -> Vec<Dispatch> {
        let waiting = self.channels.remove(channel).unwrap_or_default();
        self.messages -= waiting.len();
        self.bytes -= waiting.iter().map(|waiting| waiting.dispatch.message.frame.len()).sum::<usize>();
        waiting.into_iter().map(|waiting| waiting.dispatch).collect()
    }
}
