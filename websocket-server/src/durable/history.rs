//! Reading history: where a reader begins, what it is told is lost, and pages for requests.

use common::message::{HistoryPage, KnownPosition, LostRecords, MAX_HISTORY, Recovery, Start};
use serde_json::value::RawValue;
use store::{ChannelName, Limits, Lost, Page, Precision, ReadFrom, StoreError};

use super::{Channels, expiry::has_expired};

/// Bytes of messages in one answer: it must fit beside others in a reader's outbox.
const PAGE_BYTES: u64 = 256 * 1024;

/// Where a reader continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartingPoint {
    /// After this number.
    pub after: u64,
    /// The content of the answer.
    pub recovery: Recovery,
}

impl Channels {
    /// Finds the place where a reader wants to begin. A position of another epoch means nothing
    /// here: the reader then begins with new messages, and is told that it was not recovered.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn locate(&self, channel: &ChannelName, start: &Start) -> Result<StartingPoint, StoreError> {
        if let Start::After { epoch: Some(epoch), .. } = start
            && *epoch != self.epoch().to_string()
        {
            let head = self.store().channel(channel.clone()).await?.map_or(0, |info| info.head);
            return Ok(StartingPoint { after: head, recovery: Recovery { recovered: false, from: head, lost: None } });
        }
        let page = self.store().read(channel.clone(), read_from(start), Limits { records: 1, bytes: 1 }).await?;
        let first = page.records.first().map(|record| record.seq);
        // What a reader got live may still be on its way to the disk.
        let head = page.head.max(self.head(channel));
        let after = match start {
            // A number that was never used means as little as one of another epoch.
            Start::After { seq, .. } => (*seq).min(head),
            Start::Last(0) => page.head,
            Start::Last(_) | Start::Since(_) => first.map_or(page.head, |seq| seq - 1),
        };
        let is_known = !matches!(start, Start::After { seq, .. } if *seq > head);
        let is_on_its_way = matches!(start, Start::After { seq, .. } if *seq > page.head) && is_known;
        let lost = page.lost.filter(|_| !is_on_its_way).map(lost_records);
        Ok(StartingPoint { after, recovery: Recovery { recovered: lost.is_none() && is_known, from: after, lost } })
    }

    /// A part of a channel's log, without messages that have expired. With a `limit` of 0 it
    /// contains no messages.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn history(&self, channel: &ChannelName, from: &Start, limit: u32) -> Result<HistoryPage, StoreError> {
        let epoch = self.epoch().to_string();
        let is_other = matches!(from, Start::After { epoch: Some(of), .. } if *of != epoch);
        // The numbers of another epoch are not comparable: it is read from the beginning, and
        // nothing is reported as lost.
        let from = if is_other { ReadFrom::After(0) } else { read_from(from) };
        let limits = Limits { records: limit.clamp(1, MAX_HISTORY), bytes: PAGE_BYTES };
        let Page { records, next, head, first_available, lost } = self.store().read(channel.clone(), from, limits).await?;
        let records = if limit == 0 { Vec::new() } else { records };
        let next = if limit == 0 { head } else { next };
        let messages = records.iter().filter(|record| !has_expired(record.expires_at)).filter_map(|record| {
            let text = String::from_utf8_lossy(&record.frame).into_owned();
            RawValue::from_string(text).ok()
        });
        Ok(HistoryPage {
            channel: channel.to_string(),
            epoch,
            head,
            first_available,
            next,
            has_more: next < head,
            lost: lost.filter(|_| !is_other).map(lost_records),
            messages: messages.collect(),
        })
    }
}

fn read_from(start: &Start) -> ReadFrom {
    match start {
        Start::After { seq, .. } => ReadFrom::After(*seq),
        Start::Last(count) => ReadFrom::Last(*count),
        Start::Since(time) => ReadFrom::Time(*time),
    }
}

/// The store's report of what is gone, for a reader.
pub fn lost_records(lost: Lost) -> LostRecords {
    let count = (lost.precision != Precision::Unknown).then_some(lost.trimmed + lost.dead_lettered);
    LostRecords {
        count,
        exact: lost.precision == Precision::Exact,
        dead_lettered: lost.dead_lettered,
        through: Some(lost.through),
    }
}

/// A client's position, as a start.
pub fn start_after(position: &KnownPosition) -> Start {
    Start::After { epoch: Some(position.epoch.clone()), seq: position.seq }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use store::{MemoryStore, StoreOptions};
    use transport::Frame;

    use super::*;
    use crate::durable::OnItsWay;

    #[actix_rt::test]
    async fn a_position_that_is_on_its_way_to_the_disk_is_known() {
        let store = Arc::new(MemoryStore::new(StoreOptions::default()).expect("a store"));
        let channels = Channels::open(store, Duration::from_secs(30), 10).await.expect("opens");
        let channel = ChannelName::parse("topic:t").expect("a channel");
        channels.load(channel.clone()).await.expect("loaded");
        {
            let machine = channels.machine(&channel);
            let mut machine = machine.lock();
            machine.push(5);
            machine.sent_to_disk(OnItsWay { seq: 5, frame: Frame::text("{}"), is_given: true, expires_at: None });
        }
        for (seq, recovered, from) in [(5, true, 5), (6, false, 5)] {
            let start = Start::After { epoch: Some(channels.epoch().to_string()), seq };
            let place = channels.locate(&channel, &start).await.expect("read");
            assert_eq!((place.recovery.recovered, place.recovery.from, place.after), (recovered, from, from), "{place:?}");
        }
    }
}
