//! `connection:resume`: a receiver says up to which positions it has everything.

use common::{
    error::ClientError,
    message::{ResumeAsk, SystemMessage},
};

use super::{Ask, Call, Kind, Senders, Target};

pub(super) const KINDS: &[Kind] = &[Kind {
    name: "connection:resume",
    senders: Senders::All,
    target: Target::Ignored,
    read: |envelope| Ok(Box::new(ResumeAsk::from_payload(envelope.payload)?)),
}];

impl Ask for ResumeAsk {
    fn serve(self: Box<Self>, call: Call<'_>) -> Result<Option<SystemMessage>, ClientError> {
        let Call { router, peer, id, ctx } = call;
        router.on_resume(peer, *self, id, ctx).map(|()| None)
    }
}
