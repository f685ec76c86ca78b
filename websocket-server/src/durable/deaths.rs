//! Tells receivers which of their messages became dead letters, and records in the store that they
//! were told.

use common::timestamp::unix_ms;
use store::{ChannelName, ConsumerId, StoreError};

use super::{
    Channels,
    untold::{Died, WithInbox},
};

/// The time of a record of what a receiver was told about its inbox: such a record is removed with
/// the inbox, not by age.
const NEVER_FORGOTTEN: u64 = u64::MAX;

impl Channels {
    /// A message of an inbox became a dead letter.
    pub fn note_death(&self, inbox: &ChannelName) {
        self.untold.lock().note(inbox, 1);
    }

    /// What became dead letters with sessions before a time has left the dead letters.
    pub fn forget_deaths(&self, before: u64) {
        self.untold.lock().expire(before);
    }

    /// Whether the receiver of an inbox must be told of dead letters.
    pub fn has_untold(&self, inbox: &ChannelName) -> bool {
        self.untold.lock().has(inbox)
    }

    /// How many messages of an inbox became dead letters since its receiver was last told. That is
    /// recorded.
    ///
    /// # Errors
    /// Those of the store; the receiver must then still be told.
    pub async fn take_untold(&self, inbox: &ChannelName) -> Result<Died, StoreError> {
        let (count, with) = self.untold.lock().take(inbox);
        let outcome = async {
            if count > 0 {
                self.note_told(inbox).await?;
            }
            if with.is_some() {
                self.note_told_of_forgotten(inbox).await?;
            }
            Ok(())
        };
        if let Err(error) = outcome.await {
            let mut untold = self.untold.lock();
            untold.note(inbox, count);
            if let Some(WithInbox { died, at }) = with {
                untold.note_forgotten(inbox.clone(), died, at);
            }
            return Err(error);
        }
        let died = Died { count, is_exact: true };
        Ok(with.map_or(died, |with| with.died.and(died)))
    }

    async fn note_told(&self, inbox: &ChannelName) -> Result<(), StoreError> {
        // With the channel its count is forgotten too.
        let Some(info) = self.store().channel(inbox.clone()).await? else { return Ok(()) };
        // What became dead letters meanwhile is told next.
        let newer = self.untold.lock().of_inbox(inbox);
        let told = info.dead_lettered.saturating_sub(newer);
        self.store().save_cursors(ConsumerId::told_of_dead_letters(), vec![(inbox.clone(), told)], None, NEVER_FORGOTTEN).await
    }

    async fn note_told_of_forgotten(&self, inbox: &ChannelName) -> Result<(), StoreError> {
        let dead = inbox.dead();
        let Some(info) = self.store().channel(dead.clone()).await? else { return Ok(()) };
        self.store().save_cursors(ConsumerId::told_of_dead_letters(), vec![(dead, info.head)], None, unix_ms()).await
    }
}
