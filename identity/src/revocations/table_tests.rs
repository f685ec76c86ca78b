use std::{collections::HashMap, time::Duration};

use parking_lot::RwLock;
use proptest::prelude::*;

use super::*;

/// A table with its store, in a folder of its own.
struct Bench {
    folder: tempfile::TempDir,
    store: Arc<RevocationStore>,
    table: RwLock<Revocations>,
    capacity: usize,
}

impl Bench {
    fn new(capacity: usize) -> Self {
        let folder = tempfile::tempdir().expect("temp dir");
        let (store, table) = open(&folder, capacity);
        Self { folder, store, table, capacity }
    }

    fn write(&self) {
        self.store.write_changes(&self.table).expect("written");
    }

    fn restart(&mut self) {
        self.write();
        (self.store, self.table) = open(&self.folder, self.capacity);
    }

    /// Revokes at a time, for a hundred seconds.
    fn revoke(&self, of: &Standing, least: u64, second: u64) -> bool {
        self.table.write().revoke(of, least, at(second + 100), at(second))
    }

    fn check(&self, of: &Standing) -> Result<(), Revoked> {
        self.table.read().check(of)
    }

    fn in_memory(&self) -> usize {
        self.table.read().tables.iter().map(Table::len).sum()
    }
}

fn open(folder: &tempfile::TempDir, capacity: usize) -> (Arc<RevocationStore>, RwLock<Revocations>) {
    let store = Arc::new(RevocationStore::open(folder.path().join("revoked.db")).expect("opens"));
    let table = Revocations::open(capacity, Arc::clone(&store)).expect("reads");
    (store, RwLock::new(table))
}

/// Far away, so that nothing expires by the clock of the machine.
const START: u64 = 5_000_000_000;

fn at(seconds: u64) -> SystemTime {
    from_unix_seconds(START + seconds)
}

fn standing(generation: u64) -> Standing {
    Standing { session: SessionId::fresh(), generation, has_user: false }
}

fn of_user(generation: u64) -> Standing {
    Standing { has_user: true, ..standing(generation) }
}

#[test]
fn an_ended_session_stays_ended_while_its_tokens_could_live() {
    let bench = Bench::new(10);
    let (ended, other) = (standing(0), standing(0));
    bench.revoke(&ended, u64::MAX, 1000);
    assert_eq!(bench.check(&ended), Err(Revoked::Ended));
    assert_eq!(bench.check(&other), Ok(()));
    bench.revoke(&other, u64::MAX, 1100);
    assert!(bench.check(&ended).is_err(), "its last token expires at 1100");
    bench.revoke(&standing(0), u64::MAX, 1101);
    assert_eq!(bench.in_memory(), 2);
}

#[test]
fn a_login_ends_the_tokens_before_it_and_not_its_own() {
    let bench = Bench::new(10);
    let before = standing(0);
    assert!(bench.revoke(&before, 1, 1000));
    assert_eq!(bench.table.read().since(0, 1).revocations[0].ended(), None, "the session goes on");
    let after = Standing { generation: 1, ..before };
    assert_eq!((bench.check(&before), bench.check(&after)), (Err(Revoked::Superseded), Ok(())));
    bench.revoke(&after, u64::MAX, 1010);
    assert_eq!(bench.table.read().since(1, 1).revocations[0].ended(), Some((after.session, u64::MAX)));
    assert!(!bench.revoke(&before, 1, 1005));
    assert_eq!(bench.check(&after), Err(Revoked::Ended), "what was ended does not come back");
    assert_eq!(bench.check(&before), Err(Revoked::Ended));
}

#[test]
fn two_hundred_thousand_revocations_all_hold() {
    let mut bench = Bench::new(1000);
    let (bystanders, ended): (Vec<_>, Vec<_>) =
        (0..100_u64).map(|number| (of_user(number), if number % 2 == 0 { of_user(1) } else { standing(0) })).unzip();
    ended.iter().for_each(|of| assert!(bench.revoke(of, u64::MAX, 0)));
    let mut later = Vec::new();
    for number in 0..200_000 {
        let of = if number % 10 == 0 { of_user(1) } else { standing(0) };
        assert!(bench.revoke(&of, u64::MAX, 1));
        if number % 1000 == 0 {
            later.push(of);
        }
        if number % 20_000 == 0 {
            bench.write();
        }
    }
    for is_again in [false, true] {
        bench.write();
        assert!(bench.in_memory() <= 2000, "memory is bounded: {}", bench.in_memory());
        assert!(bystanders.iter().all(|of| bench.check(of).is_ok()), "restarted: {is_again}");
        assert!(ended.iter().chain(&later).all(|of| bench.check(of) == Err(Revoked::Ended)), "restarted: {is_again}");
        assert!(!bench.revoke(&ended[0], u64::MAX, 0), "what is on the disk only is known too");
        bench.restart();
    }
    let (mut known, mut heard) = (0, 0);
    loop {
        let page = bench.table.read().since(known, 1000);
        assert!(page.revocations.len() <= 1000);
        heard += page.revocations.len();
        known = page.upto;
        if !page.more {
            break;
        }
    }
    assert_eq!(heard, 200_100, "who starts again hears of all");
}

#[test]
fn changes_that_the_disk_refuses_stay_in_memory() {
    let bench = Bench::new(2);
    std::fs::create_dir(bench.folder.path().join("revoked.db")).expect("in the way");
    let ended: Vec<_> = (0..10).map(|_| of_user(1)).collect();
    ended.iter().for_each(|of| assert!(bench.revoke(of, u64::MAX, 0)));
    assert!(bench.store.write_changes(&bench.table).is_err());
    assert!(ended.iter().all(|of| bench.check(of).is_err()) && bench.check(&of_user(1)).is_ok());
    std::fs::remove_dir(bench.folder.path().join("revoked.db")).expect("out of the way");
    bench.write();
    assert_eq!(bench.in_memory(), 2);
    assert!(ended.iter().all(|of| bench.check(of).is_err()));
}

#[test]
fn two_tables_that_tell_each_other_what_changed_are_soon_alike_and_silent() {
    let (edge, broker) = (Bench::new(3), Bench::new(3));
    let now = at(1000) + Duration::from_millis(1);
    for number in 0..5 {
        let of = Standing { has_user: number % 2 == 0, ..standing(0) };
        edge.table.write().revoke(&of, number + 1, now + Duration::from_millis(100_500), now);
        edge.table.write().revoke(&standing(0), u64::MAX, at(2000), now);
        edge.write();
    }
    let (mut told, mut heard, mut rounds) = (0, 0, 0);
    loop {
        let (up, down) = (edge.table.read().since(told, 2), broker.table.read().since(heard, 2));
        if up.revocations.is_empty() && down.revocations.is_empty() {
            break;
        }
        for (bench, news) in [(&broker, &up), (&edge, &down)] {
            for revocation in &news.revocations {
                bench.table.write().load(*revocation, now);
            }
            bench.write();
        }
        (told, heard, rounds) = (up.upto, down.upto, rounds + 1);
        assert!(rounds < 40, "they never come to rest: {up:?} {down:?}");
    }
    let sorted = |bench: &Bench| {
        let page = bench.table.read().since(0, usize::MAX - 1);
        let mut all: Vec<_> = page.revocations.iter().map(|one| serde_json::to_string(one).expect("JSON")).collect();
        all.sort();
        all
    };
    assert_eq!(sorted(&edge), sorted(&broker));
    assert_eq!(sorted(&edge).len(), 10);
}

#[derive(Clone, Debug)]
enum Step {
    Revoke { session: usize, user: bool, least: u64 },
    Write,
    Restart,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..8_usize, any::<bool>(), prop_oneof![1..5_u64, Just(u64::MAX)])
            .prop_map(|(session, user, least)| Step::Revoke { session, user, least }),
        2 => Just(Step::Write),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_history_refuses_what_a_naive_model_refuses(steps in prop::collection::vec(any_step(), 1..40)) {
        let mut bench = Bench::new(2);
        let sessions: Vec<_> = (0..8).map(|_| SessionId::fresh()).collect();
        let mut model = HashMap::<(usize, bool), u64>::new();
        for (second, step) in (0..).zip(steps) {
            match step {
                Step::Revoke { session, user, least } => {
                    let of = Standing { session: sessions[session], generation: 0, has_user: user };
                    bench.revoke(&of, least, second);
                    let known = model.entry((session, user)).or_default();
                    *known = least.max(*known);
                }
                Step::Write => bench.write(),
                Step::Restart => bench.restart(),
            }
            for (number, session) in sessions.iter().enumerate() {
                let least = |user| model.get(&(number, user)).copied().unwrap_or_default();
                for generation in 0..6 {
                    let of = Standing { session: *session, generation, has_user: generation > 0 };
                    let expected = if generation >= least(false).max(least(true)) {
                        Ok(())
                    } else if generation < least(true) || least(false) == u64::MAX {
                        Err(Revoked::Ended)
                    } else {
                        Err(Revoked::Superseded)
                    };
                    prop_assert_eq!(bench.check(&of), expected);
                }
            }
        }
    }
}
