use super::*;

fn at(seconds: u64) -> SystemTime {
    from_unix_seconds(seconds)
}

fn session(issued: u64, generation: u64) -> Session {
    let expires_at = at(issued + 100);
    Session { generation, ..Session::anonymous(SessionId::fresh(), at(issued), at(issued), expires_at) }
}

#[test]
fn an_ended_session_stays_ended_while_its_tokens_could_live() {
    let mut table = Revocations::new(10, Duration::from_secs(100));
    let (ended, other) = (session(950, 0), session(950, 0));
    table.revoke(&ended, u64::MAX, at(1000));
    assert!(table.is_revoked(&ended) && table.is_ended(ended.id));
    assert!(!table.is_revoked(&other));
    table.revoke(&other, u64::MAX, at(1100));
    assert!(table.is_revoked(&ended), "its last token expires at 1100");
    table.revoke(&session(1101, 0), u64::MAX, at(1101));
    assert!(!table.of_nobody.entries.contains_key(&ended.id));
}

#[test]
fn a_login_ends_the_tokens_before_it_and_not_its_own() {
    let mut table = Revocations::new(10, Duration::from_secs(100));
    let before = session(950, 0);
    table.revoke(&before, 1, at(1000));
    let after = Session { generation: 1, ..before.clone() };
    assert!(table.is_revoked(&before) && !table.is_revoked(&after) && !table.is_ended(before.id));
    table.revoke(&after, u64::MAX, at(1010));
    table.revoke(&before, 1, at(1020));
    assert!(table.is_revoked(&after), "what was ended does not come back");
}

#[test]
fn at_the_bound_more_is_ended_and_never_less() {
    let mut table = Revocations::new(2, Duration::from_secs(1000));
    let sessions: Vec<_> = (0..3).map(|_| session(50, 0)).collect();
    for (second, session) in sessions.iter().enumerate() {
        table.revoke(session, u64::MAX, at(100 + second as u64));
    }
    assert_eq!((table.of_nobody.order.len(), table.of_nobody.entries.len()), (2, 2));
    assert!(sessions.iter().all(|session| table.is_revoked(session)));
    assert!(table.is_revoked(&session(100, 0)), "signed before the entry that gave way");
    assert!(!table.is_revoked(&session(101, 0)));
}

#[test]
fn what_was_written_down_holds_after_a_restart() {
    let mut table = Revocations::new(2, Duration::from_secs(1000));
    let sessions: Vec<_> = (0..3).map(|_| session(50, 3)).collect();
    let mut log = Vec::new();
    for (second, session) in sessions.iter().enumerate() {
        log.extend(table.revoke(session, 4 + second as u64, at(100 + second as u64)));
    }
    assert_eq!(log.len(), 4);
    for log in [log, table.written()] {
        let text = serde_json::to_string(&log).expect("JSON");
        let mut again = Revocations::new(2, Duration::from_secs(1000));
        for revocation in serde_json::from_str::<Vec<Revocation>>(&text).expect("reads") {
            again.load(revocation, at(200));
        }
        assert!(sessions.iter().all(|session| again.is_revoked(session)));
        assert!(again.is_revoked(&session(100, 9)), "what gave way at the bound is remembered too");
        let later = Session { generation: 9, issued_at: at(150), ..sessions[2].clone() };
        assert!(!again.is_revoked(&later));
    }
}

#[test]
fn revoking_twice_takes_one_entry() {
    let mut table = Revocations::new(2, Duration::from_secs(1000));
    let session = session(0, 0);
    for second in 0..5 {
        table.revoke(&session, second + 1, at(second));
    }
    assert_eq!(table.of_nobody.order.len(), 1);
}

#[test]
fn what_nobodies_end_at_the_bound_ends_no_user() {
    let mut table = Revocations::new(2, Duration::from_secs(1000));
    let login = common::assertion::Login { user: "ann".parse().expect("a user"), wallet: None, scopes: Default::default() };
    let login = Some(std::sync::Arc::new(crate::sessions::token::SessionLogin { login, until: None }));
    let (ann, ended) = (Session { login: login.clone(), ..session(50, 1) }, Session { login, ..session(50, 1) });
    table.revoke(&ended, u64::MAX, at(60));
    for second in 0..10 {
        table.revoke(&session(50, 0), u64::MAX, at(100 + second));
    }
    assert!(table.is_revoked(&session(50, 0)), "sessions of nobody are ended");
    assert!(!table.is_revoked(&ann), "a user is not");
    assert!(table.is_revoked(&ended), "but one that was ended stays so");
}
