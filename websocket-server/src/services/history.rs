//! `channel:history`: reads a part of a channel's log.

use std::sync::Arc;

use common::{
    error::{ClientError, ErrorCode},
    message::{HistoryAsk, SystemMessage},
};
use store::ChannelName;

use super::kind::{Kind, Senders, Target};
use crate::shard::{Ask, Call};

pub(super) const KINDS: &[Kind] = &[Kind {
    name: "channel:history",
    senders: Senders::All,
    target: Target::Ignored,
    read: |envelope| Ok(Box::new(HistoryAsk::from_payload(envelope.payload)?)),
}];

impl Ask for HistoryAsk {
    fn serve(self: Box<Self>, call: Call<'_>) -> Result<Option<SystemMessage>, ClientError> {
        let channel = ChannelName::parse(&self.channel)
            .map_err(|error| ClientError::with_message(ErrorCode::InvalidTarget, format!("the channel {error}")))?;
        call.router.check_may_read(call.peer, &channel)?;
        let place = call.peer.begin_read().map_err(|error| error.about(channel.to_string()))?;
        let channels = Arc::clone(&call.router.broker().channels);
        call.later(async move {
            let page = channels.history(&channel, &self.from, self.limit).await;
            drop(place);
            match page {
                Ok(page) => Ok(Some(SystemMessage::Records(Box::new(page)))),
                Err(error) => {
                    tracing::warn!(%error, "a channel cannot be read");
                    Err(ErrorCode::StoreUnavailable.into())
                }
            }
        });
        Ok(None)
    }
}
