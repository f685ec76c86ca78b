//! Which dead letters are removed at the bounds of their channel.

use foldhash::HashMap;

use super::{
    checked::{counter, size},
    tx::Tx,
};
use crate::{
    channel::ChannelName,
    dead::{self, DeadShare, Letter},
    error::StoreError,
    options::Bounds,
};

impl Tx<'_> {
    /// Cuts a channel of dead letters to its bounds of number and bytes, as far as the budget
    /// allows: those of the largest sender go. Returns how many.
    pub(super) fn cut_dead_letters(&mut self, name: &ChannelName, bounds: Bounds, budget: u64) -> Result<u64, StoreError> {
        let Some(channel) = self.state.channels.get(self.conn, name)? else { return Ok(0) };
        let id = channel.id;
        let (records, bytes) = channel.settled();
        let mut going = Vec::new();
        let mut freed = 0;
        if bounds.exceeded_by(records, bytes) {
            let mut statement = self.conn.prepare_cached(
                "SELECT records.seq, length(frame), source, owner FROM logs CROSS JOIN records ON records.seq = logs.seq
                 WHERE logs.channel = ?1 ORDER BY logs.seq",
            )?;
            let rows = statement.query_map([id], |row| {
                Ok(Letter { seq: counter(row, 0)?, bytes: size(row, 1)?, sender: row.get(2)?, share: DeadShare(row.get(3)?) })
            })?;
            let letters = rows.collect::<Result<Vec<Letter<String>>, _>>()?;
            let sizes: HashMap<u64, u64> = letters.iter().map(|letter| (letter.seq, letter.bytes)).collect();
            going = dead::giving_way(letters, bounds);
            going.truncate(usize::try_from(budget).unwrap_or(usize::MAX));
            freed = going.iter().filter_map(|seq| sizes.get(seq)).sum();
        }
        for seq in &going {
            self.remove_record(id, *seq)?;
        }
        let count = going.len() as u64;
        if let Some(channel) = self.state.channels.get_mut(self.conn, name)?
            && count > 0
        {
            channel.records = channel.records.saturating_sub(count);
            channel.bytes = channel.bytes.saturating_sub(freed);
            channel.trimmed += count;
            let gaps = channel.gaps_mut(self.conn)?;
            going.iter().for_each(|seq| gaps.trimmed(*seq, *seq, 1));
            self.state.totals.records = self.state.totals.records.saturating_sub(count);
            self.state.totals.bytes = self.state.totals.bytes.saturating_sub(freed);
        }
        self.note_oldest(name, bounds, None)?;
        Ok(count)
    }
}
