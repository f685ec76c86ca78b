use std::time::Duration;

use super::*;

fn at(seconds: u64) -> SystemTime {
    from_unix_seconds(seconds)
}

fn standing(issued: u64, generation: u64) -> Standing {
    Standing { session: SessionId::fresh(), generation, issued_at: at(issued), has_user: false }
}

/// Revokes at a time, for a hundred seconds.
fn revoke(table: &mut Revocations, of: &Standing, least: u64, second: u64) -> Vec<Revocation> {
    table.revoke(of, least, at(second + 100), at(second))
}

#[test]
fn an_ended_session_stays_ended_while_its_tokens_could_live() {
    let mut table = Revocations::new(10);
    let (ended, other) = (standing(950, 0), standing(950, 0));
    revoke(&mut table, &ended, u64::MAX, 1000);
    assert_eq!(table.check(&ended), Err(Revoked::Ended));
    assert_eq!(table.check(&other), Ok(()));
    revoke(&mut table, &other, u64::MAX, 1100);
    assert!(table.check(&ended).is_err(), "its last token expires at 1100");
    revoke(&mut table, &standing(1101, 0), u64::MAX, 1101);
    assert!(!table.of_nobody.entries.contains_key(&ended.session));
}

#[test]
fn a_login_ends_the_tokens_before_it_and_not_its_own() {
    let mut table = Revocations::new(10);
    let before = standing(950, 0);
    let written = revoke(&mut table, &before, 1, 1000);
    assert_eq!(written[0].ended(), None, "the session goes on");
    let after = Standing { generation: 1, ..before };
    assert_eq!((table.check(&before), table.check(&after)), (Err(Revoked::Superseded), Ok(())));
    let written = revoke(&mut table, &after, u64::MAX, 1010);
    assert_eq!(written[0].ended(), Some((after.session, u64::MAX)));
    revoke(&mut table, &before, 1, 1020);
    assert_eq!(table.check(&after), Err(Revoked::Ended), "what was ended does not come back");
    assert_eq!(table.check(&before), Err(Revoked::Ended));
}

#[test]
fn at_the_bound_more_is_ended_and_never_less() {
    let mut table = Revocations::new(2);
    let ended: Vec<_> = (0..3).map(|_| standing(50, 0)).collect();
    for (second, of) in ended.iter().enumerate() {
        revoke(&mut table, of, u64::MAX, 100 + second as u64);
    }
    assert_eq!((table.of_nobody.order.len(), table.of_nobody.entries.len()), (2, 2));
    assert!(ended.iter().all(|of| table.check(of).is_err()));
    assert_eq!(table.check(&standing(100, 0)), Err(Revoked::Superseded), "signed before the entry that gave way");
    assert_eq!(table.check(&standing(101, 0)), Ok(()));
}

#[test]
fn an_entry_that_was_raised_gives_way_with_all_that_it_stood_for() {
    let mut table = Revocations::new(2);
    let again = Standing { generation: 10, has_user: true, ..standing(10, 0) };
    revoke(&mut table, &again, 11, 10);
    revoke(&mut table, &Standing { has_user: true, ..standing(11, 0) }, u64::MAX, 11);
    let later = Standing { generation: 20, issued_at: at(20), ..again };
    revoke(&mut table, &later, 21, 20);
    for second in 21..25 {
        revoke(&mut table, &Standing { has_user: true, ..standing(second, 0) }, u64::MAX, second);
    }
    assert!(table.check(&later).is_err());
}

#[test]
fn what_was_written_down_holds_after_a_restart() {
    let mut table = Revocations::new(2);
    let revoked: Vec<_> = (0..3).map(|_| standing(50, 3)).collect();
    let mut log = Vec::new();
    for (second, of) in revoked.iter().enumerate() {
        log.extend(revoke(&mut table, of, 4 + second as u64, 150 + second as u64));
    }
    assert_eq!(log.len(), 4);
    for log in [log, table.written()] {
        let text = serde_json::to_string(&log).expect("JSON");
        let mut again = Revocations::new(2);
        for revocation in serde_json::from_str::<Vec<Revocation>>(&text).expect("reads") {
            again.load(revocation, at(200));
        }
        assert!(revoked.iter().all(|of| again.check(of).is_err()));
        assert!(again.check(&standing(150, 9)).is_err(), "what gave way at the bound is remembered too");
        let later = Standing { generation: 9, issued_at: at(180), ..revoked[2] };
        assert_eq!(again.check(&later), Ok(()));
    }
}

#[test]
fn revoking_twice_takes_one_entry() {
    let mut table = Revocations::new(2);
    let of = standing(0, 0);
    for second in 0..5 {
        revoke(&mut table, &of, second + 1, second);
    }
    assert_eq!(table.of_nobody.order.len(), 1);
}

#[test]
fn what_nobodies_end_at_the_bound_ends_no_user() {
    let mut table = Revocations::new(2);
    let of_user = || Standing { has_user: true, ..standing(50, 1) };
    let (ann, ended) = (of_user(), of_user());
    revoke(&mut table, &ended, u64::MAX, 60);
    for second in 0..10 {
        revoke(&mut table, &standing(50, 0), u64::MAX, 100 + second);
    }
    assert!(table.check(&standing(50, 0)).is_err(), "sessions of nobody are ended");
    assert_eq!(table.check(&ann), Ok(()), "a user is not");
    assert_eq!(table.check(&ended), Err(Revoked::Ended), "but one that was ended stays so");
}

#[test]
fn two_tables_that_tell_each_other_what_changed_are_soon_alike_and_silent() {
    let (mut edge, mut broker) = (Revocations::new(3), Revocations::new(3));
    let now = at(1000) + Duration::from_millis(1);
    for number in 0..5 {
        let of = Standing { has_user: number % 2 == 0, ..standing(900, 0) };
        edge.revoke(&of, number + 1, now + Duration::from_millis(100_500), now);
        edge.revoke(&standing(900, 0), u64::MAX, at(2000), now);
    }
    let (mut told, mut heard, mut rounds) = (0, 0, 0);
    loop {
        let (up, down) = (edge.since(told, 2), broker.since(heard, 2));
        if up.revocations.is_empty() && down.revocations.is_empty() {
            break;
        }
        for (table, news) in [(&mut broker, &up), (&mut edge, &down)] {
            for revocation in &news.revocations {
                table.load(*revocation, now);
            }
        }
        (told, heard, rounds) = (up.upto, down.upto, rounds + 1);
        assert!(rounds < 20, "they never come to rest: {up:?} {down:?}");
    }
    let sorted = |table: &Revocations| {
        let mut all: Vec<_> = table.written().iter().map(|one| serde_json::to_string(one).expect("JSON")).collect();
        all.sort();
        all
    };
    assert_eq!(sorted(&edge), sorted(&broker));
    assert!(!sorted(&edge).is_empty());
}
