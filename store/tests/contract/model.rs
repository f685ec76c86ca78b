//! Random histories against a naive model: a list of records with flags, searched from end to end.
//!
//! The model knows the rules of `store::Store`'s documentation, and nothing of how a backend
//! implements them.

use std::collections::BTreeMap;

use bytes::Bytes;
use common::envelope::Priority;
use proptest::{prelude::*, test_runner::TestCaseError};
use store::{
    Ack, Appended, Bounds, ChannelFamily, DeadReason, Death, Delivered, FamilyPolicy, FirstDelivery, Limits, Nack, NewRecord,
    PendingQuery, Precision, ReadFrom, StoreOptions,
};

use crate::harness::{Backend, Subject, channel};

const CHANNELS: [&str; 4] = ["agent:a", "agent:b", "topic:t", "user:u"];
const PRIORITIES: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Control];
const LOG: u64 = 6;
const LOG_BYTES: u64 = 150;
const LOG_AGE: u64 = 400;
const INBOX: u64 = 5;
const INBOX_BYTES: u64 = 120;
const INBOX_AGE: u64 = 300;
const DEDUP: u64 = 120;
const ANY: Limits = Limits { records: 1_000, bytes: u64::MAX };

fn options() -> StoreOptions {
    let mut options = StoreOptions { dedup_window_ms: DEDUP, ..StoreOptions::default() };
    let policy = FamilyPolicy {
        log: Bounds { records: LOG, bytes: LOG_BYTES, age_ms: LOG_AGE },
        inbox: Bounds { records: INBOX, bytes: INBOX_BYTES, age_ms: INBOX_AGE },
    };
    for family in [ChannelFamily::Agent, ChannelFamily::User, ChannelFamily::Topic] {
        options.policies.set(family, policy);
    }
    options.policies.set(ChannelFamily::Dead, FamilyPolicy::default());
    options.policies.forget_channels_ms = 0;
    options
}

/// The steps. Records are chosen by their place among all that were ever appended.
#[derive(Clone, Debug)]
enum Step {
    Append { channel: usize, id: u8, priority: usize, bytes: usize, needs_ack: bool, ttl: Option<u64>, skip: u8 },
    AppendMany { channels: Vec<usize> },
    AckThrough { channel: usize, place: usize },
    AckEach { channel: usize, places: Vec<usize> },
    Nack { channel: usize, place: usize, delay: u64 },
    Delivered { channel: usize, place: usize, delay: u64 },
    Dead { channel: usize, place: usize },
    Wait { ms: u64 },
    Trim,
    Reopen,
    Read { channel: usize, place: usize, limit: u32, bytes: u64 },
    Pending { channel: usize, due_in: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let channel = 0..CHANNELS.len();
    let place = any::<prop::sample::Index>().prop_map(|index| index.index(1_000));
    let step = prop_oneof![
        12 => (channel.clone(), 0..40_u8, 0..4_usize, 1..60_usize, any::<bool>(), prop::option::of((1..12_u64).prop_map(|quarters| quarters * 25)), 0..3_u8).prop_map(
            |(channel, id, priority, bytes, needs_ack, ttl, skip)| {
                Step::Append { channel, id, priority, bytes, needs_ack, ttl, skip }
            }
        ),
        2 => prop::collection::vec(channel.clone(), 1..12).prop_map(|channels| Step::AppendMany { channels }),
        2 => (channel.clone(), place.clone()).prop_map(|(channel, place)| Step::AckThrough { channel, place }),
        2 => (channel.clone(), prop::collection::vec(place.clone(), 0..4))
            .prop_map(|(channel, places)| Step::AckEach { channel, places }),
        1 => (channel.clone(), place.clone(), 0..200_u64).prop_map(|(channel, place, delay)| Step::Nack { channel, place, delay }),
        1 => (channel.clone(), place.clone(), 0..200_u64)
            .prop_map(|(channel, place, delay)| Step::Delivered { channel, place, delay }),
        1 => (channel.clone(), place.clone()).prop_map(|(channel, place)| Step::Dead { channel, place }),
        3 => (0..7_u64).prop_map(|quarters| Step::Wait { ms: quarters * 25 }),
        2 => Just(Step::Trim),
        1 => Just(Step::Reopen),
        3 => (channel.clone(), place, 1..8_u32, 1..200_u64)
            .prop_map(|(channel, place, limit, bytes)| Step::Read { channel, place, limit, bytes }),
        2 => (channel, 0..300_u64).prop_map(|(channel, due_in)| Step::Pending { channel, due_in }),
    ];
    prop::collection::vec(step, 1..90)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Here,
    Trimmed,
    Dead(DeadReason),
}

#[derive(Clone, Debug)]
struct Row {
    channel: usize,
    record: NewRecord,
    waits: bool,
    attempts: u32,
    due_at: u64,
    fate: Fate,
}

#[derive(Default)]
struct Model {
    now: u64,
    rows: Vec<Row>,
    first: BTreeMap<(usize, String), (u64, u64)>,
}

impl Model {
    fn here(&self, channel: usize) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.channel == channel && row.fate == Fate::Here)
    }

    /// The number at a place. It may belong to another channel.
    fn seq_at(&self, place: usize) -> u64 {
        if self.rows.is_empty() { place as u64 } else { self.rows[place % self.rows.len()].record.seq }
    }

    fn row_mut(&mut self, channel: usize, seq: u64) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.channel == channel && row.record.seq == seq && row.waits && row.fate == Fate::Here)
    }

    fn append(&mut self, channel: usize, record: &NewRecord) -> Result<Vec<u64>, u64> {
        let key = (channel, record.message_id.clone());
        if let Some((seq, at)) = self.first.get(&key)
            && at + DEDUP >= record.stored_at
        {
            return Err(*seq);
        }
        self.first.insert(key, (record.seq, record.stored_at));
        self.rows.push(Row {
            channel,
            waits: record.delivery.is_some(),
            attempts: record.delivery.map_or(0, |delivery| delivery.attempts),
            due_at: record.delivery.map_or(0, |delivery| delivery.due_at),
            record: record.clone(),
            fate: Fate::Here,
        });
        let mut evicted = Vec::new();
        loop {
            let waiting: Vec<&Row> = self.here(channel).filter(|row| row.waits).collect();
            let bytes: usize = waiting.iter().map(|row| row.record.frame.len()).sum();
            if record.delivery.is_none() || (waiting.len() as u64 <= INBOX && bytes as u64 <= INBOX_BYTES) {
                return Ok(evicted);
            }
            let lane = |row: &&Row| {
                let lane = PRIORITIES.iter().position(|priority| *priority == row.record.priority);
                (lane, row.record.seq)
            };
            let seq = waiting.into_iter().min_by_key(lane).map(|row| row.record.seq).expect("somebody");
            self.bury(channel, seq, DeadReason::InboxFull);
            evicted.push(seq);
        }
    }

    fn bury(&mut self, channel: usize, seq: u64, reason: DeadReason) -> bool {
        let row = self.row_mut(channel, seq);
        row.is_some_and(|row| {
            row.fate = Fate::Dead(reason);
            true
        })
    }

    fn enforce(&mut self) {
        for channel in 0..CHANNELS.len() {
            loop {
                let settled: Vec<&Row> = self.here(channel).filter(|row| !row.waits).collect();
                let bytes: usize = settled.iter().map(|row| row.record.frame.len()).sum();
                if settled.len() as u64 <= LOG && bytes as u64 <= LOG_BYTES {
                    break;
                }
                let oldest = settled[0].record.seq;
                self.trim_row(oldest);
            }
        }
    }

    fn trim_row(&mut self, seq: u64) {
        self.rows.iter_mut().filter(|row| row.record.seq == seq).for_each(|row| row.fate = Fate::Trimmed);
    }

    fn ack(&mut self, channel: usize, acked: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut settled = Vec::new();
        for row in &mut self.rows {
            if row.channel == channel && row.waits && row.fate == Fate::Here && acked(row.record.seq) {
                row.waits = false;
                settled.push(row.record.seq);
            }
        }
        self.enforce();
        settled
    }

    /// The dead letters with their reasons, and how many records are removed.
    fn trim(&mut self) -> (Vec<(u64, DeadReason)>, u64) {
        let now = self.now;
        let mut dead = Vec::new();
        let mut removed = 0;
        for row in self.rows.iter_mut().filter(|row| row.fate == Fate::Here) {
            if row.waits {
                let reason = if row.record.expires_at.is_some_and(|at| at <= now) {
                    DeadReason::Expired
                } else if row.record.stored_at < now.saturating_sub(INBOX_AGE) {
                    DeadReason::Age
                } else {
                    continue;
                };
                row.fate = Fate::Dead(reason);
                dead.push((row.record.seq, reason));
            } else if row.record.stored_at < now.saturating_sub(LOG_AGE) {
                row.fate = Fate::Trimmed;
                removed += 1;
            }
        }
        dead.sort_unstable_by_key(|(seq, _)| *seq);
        (dead, removed)
    }
}

async fn record(store: &mut Subject, model: &Model, channel: usize, id: &str, bytes: usize) -> NewRecord {
    let new = store.record(CHANNELS[channel]).await;
    NewRecord { message_id: id.to_owned(), frame: Bytes::from(vec![b'x'; bytes]), stored_at: model.now, ..new }
}

/// Appends, in one call, and compares the answers.
async fn append(store: &Subject, model: &mut Model, records: Vec<(usize, NewRecord)>) -> Result<(), TestCaseError> {
    let expected: Vec<_> = records.iter().map(|(channel, record)| model.append(*channel, record)).collect();
    model.enforce();
    let seqs: Vec<u64> = records.iter().map(|(_, record)| record.seq).collect();
    let answers = store.append(records.into_iter().map(|(_, record)| record).collect()).await;
    let answers = answers.map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(answers.len(), expected.len());
    for ((answer, expected), given) in answers.into_iter().zip(expected).zip(seqs) {
        match answer {
            Appended::Duplicate { seq } => prop_assert_eq!(Err(seq), expected),
            Appended::Stored { seq, evicted } => {
                prop_assert_eq!(seq, given);
                prop_assert_eq!(Ok(evicted.iter().map(|letter| letter.seq).collect()), expected);
            }
        }
    }
    Ok(())
}

async fn run(backend: Backend, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut store = Subject::open_with(backend, options());
    let mut model = Model { now: 1_000, ..Model::default() };
    for step in steps {
        take(&mut store, &mut model, step).await?;
    }
    compare(&store, &model).await
}

async fn take(store: &mut Subject, model: &mut Model, step: Step) -> Result<(), TestCaseError> {
    match step {
        Step::Append { channel, id, priority, bytes, needs_ack, ttl, skip } => {
            for _ in 0..skip {
                store.number().await;
            }
            let new = NewRecord {
                priority: PRIORITIES[priority],
                expires_at: ttl.map(|ttl| model.now + ttl),
                delivery: needs_ack.then_some(FirstDelivery { attempts: 1, due_at: model.now + 50 }),
                ..record(store, model, channel, &format!("id{id}"), bytes).await
            };
            append(store, model, vec![(channel, new)]).await?;
        }
        Step::AppendMany { channels } => {
            let mut records = Vec::new();
            for channel in channels {
                let id = format!("many{}", store.number().await);
                records.push((channel, record(store, model, channel, &id, 10).await));
            }
            append(store, model, records).await?;
        }
        Step::AckThrough { channel: at, place } => {
            let through = model.seq_at(place);
            let acked = store.ack(channel(CHANNELS[at]), Ack::Through(through)).await;
            prop_assert_eq!(acked, Ok(model.ack(at, |seq| seq <= through)));
        }
        Step::AckEach { channel: at, places } => {
            let seqs: Vec<u64> = places.into_iter().map(|place| model.seq_at(place)).collect();
            let acked = store.ack(channel(CHANNELS[at]), Ack::Each(seqs.clone())).await;
            prop_assert_eq!(acked, Ok(model.ack(at, |seq| seqs.contains(&seq))));
        }
        Step::Nack { channel: at, place, delay } => {
            let (seq, not_before) = (model.seq_at(place), model.now + delay);
            let answer = store.nack(channel(CHANNELS[at]), seq, Nack { not_before, reason: "no".to_owned() }).await;
            let row = model.row_mut(at, seq);
            prop_assert_eq!(answer, Ok(row.as_ref().map(|row| row.attempts)));
            row.into_iter().for_each(|row| row.due_at = not_before);
        }
        Step::Delivered { channel: at, place, delay } => {
            let (seq, next_due) = (model.seq_at(place), model.now + delay);
            let attempt = model.row_mut(at, seq).map_or(1, |row| row.attempts + 1);
            let delivered = Delivered { channel: channel(CHANNELS[at]), seq, attempt, next_due };
            prop_assert_eq!(store.mark_delivered(vec![delivered]).await, Ok(()));
            model.row_mut(at, seq).into_iter().for_each(|row| (row.attempts, row.due_at) = (attempt, next_due));
        }
        Step::Dead { channel: at, place } => {
            let seq = model.seq_at(place);
            let death = Death::of(DeadReason::Rejected, model.now);
            let answer = store.dead_letter(channel(CHANNELS[at]), seq, death).await;
            prop_assert_eq!(answer.map(|letter| letter.is_some()), Ok(model.bury(at, seq, DeadReason::Rejected)));
        }
        Step::Wait { ms } => model.now += ms,
        Step::Trim => {
            let (dead, removed) = model.trim();
            let trimmed = store.trim(model.now, 10_000).await.expect("trims");
            let mut found: Vec<_> = trimmed.dead_lettered.iter().map(|letter| (letter.seq, letter.reason)).collect();
            found.sort_unstable_by_key(|(seq, _)| *seq);
            prop_assert_eq!((found, trimmed.records, trimmed.more), (dead, removed, false));
        }
        Step::Reopen => store.reopen(),
        Step::Read { channel: at, place, limit, bytes } => {
            let after = model.seq_at(place);
            let page = store.read(channel(CHANNELS[at]), ReadFrom::After(after), Limits { records: limit, bytes }).await;
            let page = page.expect("read");
            let mut room = bytes;
            let mut expected = Vec::new();
            for row in model.here(at).filter(|row| row.record.seq > after).take(limit as usize) {
                let size = row.record.frame.len() as u64;
                if size > room && !expected.is_empty() {
                    break;
                }
                room = room.saturating_sub(size);
                expected.push(row.record.seq);
            }
            prop_assert_eq!(page.records.iter().map(|record| record.seq).collect::<Vec<_>>(), expected);
        }
        Step::Pending { channel: at, due_in } => {
            let query = PendingQuery { due_before: model.now + due_in, after: 0, limits: ANY };
            let pending = store.pending(channel(CHANNELS[at]), query).await.expect("read");
            let found: Vec<_> = pending.iter().map(|waits| (waits.record.seq, waits.attempts, waits.due_at)).collect();
            let due = model.here(at).filter(|row| row.waits && row.due_at <= query.due_before);
            prop_assert_eq!(found, due.map(|row| (row.record.seq, row.attempts, row.due_at)).collect::<Vec<_>>());
        }
    }
    Ok(())
}

/// Compares everything visible.
async fn compare(store: &Subject, model: &Model) -> Result<(), TestCaseError> {
    for (at, name) in CHANNELS.into_iter().enumerate() {
        let rows: Vec<&Row> = model.rows.iter().filter(|row| row.channel == at).collect();
        let page = store.page(name, ReadFrom::After(0)).await;
        let here: Vec<u64> = model.here(at).map(|row| row.record.seq).collect();
        prop_assert_eq!(page.records.iter().map(|record| record.seq).collect::<Vec<_>>(), here.clone());
        prop_assert_eq!(page.head, rows.last().map_or(0, |row| row.record.seq));
        prop_assert_eq!(page.first_available, here.first().copied());

        let count = |fate: fn(Fate) -> bool, after: u64| {
            rows.iter().filter(|row| fate(row.fate) && row.record.seq > after).count() as u64
        };
        for after in rows.iter().map(|row| row.record.seq).chain([0]) {
            let lost = store.page(name, ReadFrom::After(after)).await.lost;
            let trimmed = count(|fate| fate == Fate::Trimmed, after);
            let dead = count(|fate| matches!(fate, Fate::Dead(_)), after);
            match lost {
                None => prop_assert_eq!((trimmed, dead), (0, 0)),
                Some(lost) if lost.precision == Precision::Exact => {
                    prop_assert_eq!((lost.trimmed, lost.dead_lettered), (trimmed, dead));
                }
                Some(lost) => prop_assert!(lost.trimmed >= trimmed && lost.dead_lettered >= dead, "{:?}", lost),
            }
        }
        let info = store.channel(channel(name)).await.expect("read");
        prop_assert_eq!(info.is_some(), !rows.is_empty());
        if let Some(info) = info {
            let waiting = model.here(at).filter(|row| row.waits).count() as u64;
            let bytes: usize = model.here(at).map(|row| row.record.frame.len()).sum();
            prop_assert_eq!((info.records, info.unacked, info.bytes), (here.len() as u64, waiting, bytes as u64));
            prop_assert_eq!(info.appended, rows.len() as u64);
        }
        let letters = store.page(channel(name).dead().as_str(), ReadFrom::After(0)).await.records;
        let mut origins: Vec<_> =
            letters.iter().filter_map(|record| record.dead.as_ref()).map(|dead| (dead.seq, dead.reason)).collect();
        origins.sort_unstable_by_key(|(seq, _)| *seq);
        let dead = rows.iter().filter_map(|row| match row.fate {
            Fate::Dead(reason) => Some((row.record.seq, reason)),
            _ => None,
        });
        prop_assert_eq!(origins, dead.collect::<Vec<_>>());
    }
    Ok(())
}

fn check(backend: Backend, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let outcome = runner.run(&steps(), |steps| runtime.block_on(run(backend, steps)));
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn random_histories_agree_with_the_model_in_memory() {
    check(Backend::Memory, 512);
}

#[test]
fn random_histories_agree_with_the_model_in_a_file() {
    check(Backend::Process, 128);
}
