//! The positions of consumers: saving them, and the bounds of those of named clients.

use rusqlite::{Connection, OptionalExtension, params};

use super::{append::sql_integer, checked::counter, error::damaged, tx::Tx};
use crate::{
    channel::ChannelName,
    error::StoreError,
    owner::Payer,
    quota::PositionsReport,
    session::ConsumerId,
    surplus::{Place, Reader, Surplus, addresses_giving_way},
};

impl Tx<'_> {
    pub(super) fn save_cursors(
        &mut self,
        consumer: &ConsumerId,
        cursors: &[(ChannelName, u64)],
        payer: Option<&Payer>,
        now: u64,
    ) -> Result<(), StoreError> {
        let room = match consumer.client() {
            Some(_) => self.state.owners.ledger.check_disk(consumer.standing()),
            None => Ok(()),
        };
        let mut update =
            self.conn.prepare_cached("UPDATE cursors SET seq = ?3, saved_at = ?4 WHERE consumer = ?1 AND channel = ?2")?;
        let mut insert =
            self.conn.prepare_cached("INSERT INTO cursors (consumer, channel, seq, saved_at) VALUES (?1, ?2, ?3, ?4)")?;
        let mut new = 0;
        for (channel, seq) in cursors {
            let row = params![consumer.as_str(), channel.as_str(), sql_integer(*seq), sql_integer(now)];
            if update.execute(row)? == 0 {
                new += 1;
                if room.is_ok() {
                    insert.execute(row)?;
                }
            }
        }
        if new == 0 {
            return Ok(());
        }
        room?;
        self.limit_positions(consumer)?;
        self.limit_source(consumer, payer)
    }

    /// Forgets positions if the clients behind the address of this one have too many.
    fn limit_positions(&mut self, saver: &ConsumerId) -> Result<(), StoreError> {
        let (most, Some((address, _)), Some((first, end))) = (self.options.max_positions, saver.client(), saver.siblings())
        else {
            return Ok(());
        };
        let positions: u64 = self
            .conn
            .prepare_cached("SELECT positions FROM positions_of WHERE address = ?1")?
            .query_row([address], |row| row.get(0))?;
        if most == 0 || positions <= most {
            return Ok(());
        }
        let rows: Vec<(String, u64, u64)> = self
            .conn
            .prepare_cached(
                "SELECT consumer, count(*), max(saved_at) FROM cursors WHERE consumer >= ?1 AND consumer < ?2 GROUP BY consumer",
            )?
            .query_map([first, end], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        let readers = rows.into_iter().map(|(consumer, positions, saved_at)| {
            let consumer = ConsumerId::new(&consumer).map_err(|_| damaged("who has a cursor"))?;
            Ok(Reader { consumer, positions, saved_at })
        });
        let surplus = Surplus::of(most, saver, readers.collect::<Result<_, StoreError>>()?);
        surplus.consumers.iter().try_for_each(|consumer| self.drop_cursors(consumer, None))?;
        if surplus.of_saver > 0 {
            self.conn
                .prepare_cached(
                    "DELETE FROM cursors WHERE consumer = ?1 AND channel IN (
                       SELECT channel FROM cursors WHERE consumer = ?1 ORDER BY saved_at, channel LIMIT ?2)",
                )?
                .execute(params![saver.as_str(), surplus.of_saver])?;
        }
        Ok(())
    }

    /// Forgets positions if the clients of the same source have too many. `payer`: the source that
    /// the saver belongs to now.
    fn limit_source(&mut self, saver: &ConsumerId, payer: Option<&Payer>) -> Result<(), StoreError> {
        let (most, Some((address, _)), Some(payer)) = (self.options.max_source_positions, saver.client(), payer) else {
            return Ok(());
        };
        self.conn
            .prepare_cached("UPDATE positions_of SET source = ?2 WHERE address = ?1 AND source IS NOT ?2")?
            .execute([address, payer.0.as_str()])?;
        let positions: Option<u64> = self
            .conn
            .prepare_cached("SELECT positions FROM positions_of_source WHERE source = ?1")?
            .query_row([&payer.0], |row| counter(row, 0))
            .optional()?;
        if most == 0 || positions.is_none_or(|positions| positions <= most) {
            return Ok(());
        }
        // '$' follows '#'.
        let places: Vec<Place> = self
            .conn
            .prepare_cached(
                "SELECT address, positions, coalesce((SELECT max(saved_at) FROM cursors
                   WHERE consumer >= address || '#' AND consumer < address || '$'), 0) FROM positions_of WHERE source = ?1",
            )?
            .query_map([&payer.0], |row| Ok(Place { address: row.get(0)?, positions: counter(row, 1)?, saved_at: row.get(2)? }))?
            .collect::<Result<_, _>>()?;
        let mut remove = self.conn.prepare_cached("DELETE FROM cursors WHERE consumer >= ?1 || '#' AND consumer < ?1 || '$'")?;
        for address in addresses_giving_way(most, address, places) {
            remove.execute([address])?;
        }
        Ok(())
    }
}

/// How many positions are kept, and of whom.
pub(super) fn report(conn: &Connection) -> Result<PositionsReport, StoreError> {
    let (addresses, positions) = conn
        .prepare_cached("SELECT count(*), coalesce(sum(positions), 0) FROM positions_of")?
        .query_row([], |row| Ok((counter(row, 0)?, counter(row, 1)?)))?;
    let largest = conn
        .prepare_cached("SELECT source, positions FROM positions_of_source ORDER BY positions DESC, source LIMIT ?1")?
        .query_map([PositionsReport::LISTED], |row| {
            let (kind, name) = Payer(row.get(0)?).split();
            Ok((kind, name, counter(row, 1)?))
        })?
        .collect::<Result<_, _>>()?;
    Ok(PositionsReport { positions, addresses, largest })
}
