//! Writing sessions, retained values, state; removing cursors.

use bytes::Bytes;
use common::id::SessionId;
use rusqlite::{OptionalExtension, params};

use super::{append::sql_integer, tx::Tx};
use crate::{
    channel::ChannelName,
    dead::{DeadReason, Death},
    error::StoreError,
    ledger::Room,
    owner::Standing,
    session::{ConsumerId, Forgotten, Retained},
};

impl Tx<'_> {
    pub(super) fn set_retained(
        &mut self,
        channel: &ChannelName,
        value: Option<&Retained>,
        room: &mut Room,
    ) -> Result<(), StoreError> {
        let Some(value) = value else { return self.forget_value(channel) };
        let known: Option<(u64, u64, u64)> = self
            .conn
            .prepare_cached("SELECT seq, owner, length(frame) FROM retained WHERE channel = ?1")?
            .query_row([channel.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let bytes = value.frame.len() as u64;
        // Before the answer, so that callers that hear of it find the room free.
        self.check_value(bytes, known.is_none(), room.standing()).inspect_err(|_| room.release())?;
        if room.hand_over()
            && let Some(owner) = room.owner()
        {
            self.state.owners.taken(owner, bytes);
        }
        match known {
            Some((seq, _, _)) if seq > value.seq => return Ok(()),
            Some((_, owner, bytes)) => self.state.owners.uncharge(owner, bytes, false),
            None => self.state.totals.retained += 1,
        }
        self.conn
            .prepare_cached(
                "INSERT INTO retained (channel, seq, stored_at, expires_at, frame, owner) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (channel) DO UPDATE SET seq = ?2, stored_at = ?3, expires_at = ?4, frame = ?5, owner = ?6",
            )?
            .execute(params![
                channel.as_str(),
                sql_integer(value.seq),
                sql_integer(value.stored_at),
                value.expires_at.map(sql_integer),
                value.frame.as_ref(),
                room.owner().map_or(0, |owner| owner.id)
            ])?;
        if let Some(owner) = room.owner() {
            self.state.owners.kept(owner, bytes);
        }
        Ok(())
    }

    fn check_value(&self, bytes: u64, is_new: bool, standing: Standing) -> Result<(), StoreError> {
        let limit = self.options.max_record_bytes;
        if bytes > limit {
            return Err(StoreError::RecordTooLarge { bytes, limit });
        }
        let limit = standing.part_of(self.options.max_retained);
        if is_new && self.state.totals.retained >= limit {
            return Err(StoreError::TooManyChannels { limit });
        }
        Ok(())
    }

    /// Removes the retained value of a channel, if it has one.
    fn forget_value(&mut self, channel: &ChannelName) -> Result<(), StoreError> {
        let removed: Vec<(u64, u64)> = self
            .conn
            .prepare_cached("DELETE FROM retained WHERE channel = ?1 RETURNING owner, length(frame)")?
            .query_map([channel.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        self.values_removed(&removed);
        Ok(())
    }

    /// Retained values are gone: to whom each was charged, and its bytes.
    pub(super) fn values_removed(&mut self, removed: &[(u64, u64)]) {
        for (owner, bytes) in removed {
            self.state.owners.uncharge(*owner, *bytes, false);
        }
        self.state.totals.retained = self.state.totals.retained.saturating_sub(removed.len() as u64);
    }

    pub(super) fn drop_cursors(&mut self, consumer: &ConsumerId, channels: Option<&[ChannelName]>) -> Result<(), StoreError> {
        let Some(channels) = channels else {
            self.conn.prepare_cached("DELETE FROM cursors WHERE consumer = ?1")?.execute([consumer.as_str()])?;
            return Ok(());
        };
        let mut statement = self.conn.prepare_cached("DELETE FROM cursors WHERE consumer = ?1 AND channel = ?2")?;
        for channel in channels {
            statement.execute([consumer.as_str(), channel.as_str()])?;
        }
        Ok(())
    }

    /// Removes the positions of a session, and of the named clients behind it.
    fn drop_cursors_of(&mut self, session: SessionId) -> Result<(), StoreError> {
        let own = ConsumerId::session(session);
        self.drop_cursors(&own, None)?;
        // '$' follows '#'.
        let (first, end) = (format!("{own}#"), format!("{own}$"));
        self.conn.prepare_cached("DELETE FROM cursors WHERE consumer >= ?1 AND consumer < ?2")?.execute([first, end])?;
        Ok(())
    }

    pub(super) fn put_session(&mut self, session: SessionId, now: u64) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("INSERT INTO sessions (id, last_seen) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET last_seen = ?2")?
            .execute(params![session.0.as_bytes().as_slice(), sql_integer(now)])?;
        Ok(())
    }

    pub(super) fn touch_sessions(&mut self, sessions: &[SessionId], now: u64) -> Result<(), StoreError> {
        let mut statement = self.conn.prepare_cached("UPDATE sessions SET last_seen = ?2 WHERE id = ?1")?;
        for session in sessions {
            statement.execute(params![session.0.as_bytes().as_slice(), sql_integer(now)])?;
        }
        Ok(())
    }

    pub(super) fn forget_sessions(&mut self, not_seen_since: u64, now: u64, limit: u32) -> Result<Forgotten, StoreError> {
        let mut budget = limit.max(1);
        let mut done = Forgotten::default();
        let stale: Vec<[u8; 16]> = self
            .conn
            .prepare_cached("SELECT id FROM sessions WHERE last_seen < ?1 ORDER BY last_seen, id LIMIT ?2")?
            .query_map(params![sql_integer(not_seen_since), budget], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for id in stale {
            let session = SessionId(uuid_of(id));
            let inbox = ChannelName::session(session);
            if self.is_damaged(&inbox) {
                continue;
            }
            if budget == 0 || !self.within(&inbox, |tx| tx.empty_inbox(session, now, &mut budget, &mut done))? {
                break;
            }
            self.conn.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute([id.as_slice()])?;
            self.drop_cursors_of(session)?;
            self.forget_value(&ChannelName::session(session))?;
            done.sessions.push(session);
            budget = budget.saturating_sub(1);
        }
        done.more = budget == 0;
        Ok(done)
    }

    /// Removes the inbox of a session, as far as the budget allows. Returns whether it is gone.
    fn empty_inbox(&mut self, session: SessionId, now: u64, budget: &mut u32, done: &mut Forgotten) -> Result<bool, StoreError> {
        let name = ChannelName::session(session);
        let Some(id) = self.state.channels.get(self.conn, &name)?.map(|channel| channel.id) else { return Ok(true) };
        self.place_channel(id)?;
        let unacked: Vec<u64> = self
            .conn
            .prepare_cached("SELECT seq FROM unacked WHERE channel = ?1 ORDER BY lane, seq LIMIT ?2")?
            .query_map(params![id, *budget], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let death = Death::of(DeadReason::ReceiverForgotten, now);
        for seq in unacked {
            done.dead_lettered.extend(self.bury(&name, seq, &death)?);
            *budget = budget.saturating_sub(1);
        }
        let records: Vec<(u64, u64, u64)> = self
            .conn
            .prepare_cached(
                "SELECT records.seq, length(frame), iif(needs_ack, 0, owner) FROM logs CROSS JOIN records ON records.seq = logs.seq WHERE logs.channel = ?1
                 ORDER BY logs.seq LIMIT ?2",
            )?
            .query_map(params![id, *budget], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        for (seq, bytes, owner) in &records {
            self.remove_record(id, *seq)?;
            self.state.owners.uncharge(*owner, *bytes, false);
        }
        let (count, bytes) = (records.len() as u64, records.iter().map(|(_, bytes, _)| bytes).sum::<u64>());
        *budget = budget.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        self.state.totals.records = self.state.totals.records.saturating_sub(count);
        self.state.totals.bytes = self.state.totals.bytes.saturating_sub(bytes);
        let Some(channel) = self.state.channels.get_mut(self.conn, &name)? else { return Ok(true) };
        channel.records = channel.records.saturating_sub(count);
        channel.bytes = channel.bytes.saturating_sub(bytes);
        if channel.records > 0 {
            return Ok(false);
        }
        self.remove_channel(&name)?;
        Ok(true)
    }

    pub(super) fn put_state(&mut self, name: &str, value: Option<&Bytes>) -> Result<(), StoreError> {
        match value {
            Some(value) => self
                .conn
                .prepare_cached("INSERT INTO state (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2")?
                .execute(params![name, value.as_ref()])?,
            None => self.conn.prepare_cached("DELETE FROM state WHERE name = ?1")?.execute([name])?,
        };
        Ok(())
    }
}

fn uuid_of(bytes: [u8; 16]) -> uuid::Uuid {
    uuid::Uuid::from_bytes(bytes)
}
