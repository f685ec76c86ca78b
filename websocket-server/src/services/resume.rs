//! `connection:resume`: a receiver names the positions up to which it has everything.

use common::{
    error::{ClientError, ErrorCode},
    message::{ResumeAsk, SystemMessage},
};
use store::ChannelName;

use super::kind::{Kind, Senders, Target};
use crate::shard::{Ask, Call, ChannelAsk};

pub(super) const KINDS: &[Kind] = &[Kind {
    name: "connection:resume",
    senders: Senders::All,
    target: Target::Ignored,
    read: |envelope| Ok(Box::new(ResumeAsk::from_payload(envelope.payload)?)),
}];

impl Ask for ResumeAsk {
    fn serve(self: Box<Self>, call: Call<'_>) -> Result<Option<SystemMessage>, ClientError> {
        let Call { router, peer, id, ctx } = call;
        let positions = self.channels.into_iter().map(|(name, position)| {
            let channel = ChannelName::parse(&name).map_err(|error| {
                ClientError::with_message(ErrorCode::InvalidTarget, format!("the channel {error}")).about(&name)
            })?;
            Ok((channel, position))
        });
        let positions = positions.collect::<Result<_, ClientError>>()?;
        router.ask_in_turn(peer, ChannelAsk::Resume(positions), id, ctx).map(|()| None)
    }
}
