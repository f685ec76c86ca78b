use std::time::Duration;

use actix::{Actor, Context, Handler};

use super::*;

/// Before the end: late enough to be told, too early to be closed.
const SHORTLY: Duration = Duration::from_secs(5);
const CLOSE: Order = Order::Close { code: CloseCode::SESSION_ENDED, reason: "the session was ended" };

fn session() -> Session {
    let now = SystemTime::now();
    Session::anonymous(SessionId::fresh(), now, now, now + Duration::from_secs(60))
}

fn sockets() -> Arc<OpenSockets> {
    OpenSockets::new(SocketLimits { max_sockets: 3, max_of_session: 2, margin: Duration::from_secs(1) })
}

struct Listener(tokio::sync::mpsc::UnboundedSender<Order>);

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<Order> for Listener {
    type Result = ();
    fn handle(&mut self, order: Order, _: &mut Self::Context) {
        self.0.send(order).expect("the test listens");
    }
}

#[test]
fn places_are_bounded_and_given_back() {
    let sockets = sockets();
    let mine = session();
    let first = sockets.admit(&mine).expect("free");
    let second = sockets.admit(&mine).expect("free");
    assert_eq!(sockets.admit(&mine).err(), Some(ErrorCode::TooManyConnections));
    let _third = sockets.admit(&session()).expect("free");
    assert_eq!(sockets.admit(&session()).err(), Some(ErrorCode::AtCapacity));
    assert_eq!((sockets.count(), sockets.of_session(mine.id)), (3, 2));
    assert_eq!((first.seat(), second.seat()), (Some(0), Some(1)));
    drop(first);
    assert_eq!((sockets.count(), sockets.of_session(mine.id)), (2, 1));
    assert_eq!(sockets.admit(&mine).expect("free").seat(), Some(0));
    let nameless = sockets.admit_nameless(&mine).expect("free");
    assert_eq!((nameless.seat(), sockets.of_session(mine.id)), (None, 2), "it counts, and takes no seat from those with names");
    assert_eq!(sockets.admit_nameless(&mine).err(), Some(ErrorCode::AtCapacity));
    sockets.shut();
    assert_eq!(sockets.admit(&mine).err(), Some(ErrorCode::NotReady));
}

#[actix_web::test]
async fn orders_reach_the_sockets_of_their_session_only() {
    let sockets = sockets();
    let mine = session();
    let ticket = sockets.admit(&mine).expect("free");
    let other = sockets.admit(&session()).expect("free");
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (tell_other, mut told_other) = tokio::sync::mpsc::unbounded_channel();
    ticket.attach(Listener(tell).start().recipient());
    other.attach(Listener(tell_other).start().recipient());
    let open = sockets.hush(mine.id);
    let later = sockets.admit(&mine).expect("free");
    let (tell_later, mut told_later) = tokio::sync::mpsc::unbounded_channel();
    later.attach(Listener(tell_later).start().recipient());
    open.into_iter().for_each(|socket| sockets.order_one(socket, CLOSE));
    assert_eq!([told.recv().await, told.recv().await], [Some(Order::Hush), Some(CLOSE)]);
    sockets.order_all(Order::AnnounceDrain { close_within_ms: 5 });
    for told in [&mut told_other, &mut told_later] {
        assert_eq!(told.recv().await, Some(Order::AnnounceDrain { close_within_ms: 5 }));
    }
}

#[actix_web::test]
async fn sockets_whose_token_runs_out_are_told() {
    let sockets = sockets();
    let mine = session();
    let ticket = sockets.admit(&mine).expect("free");
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    ticket.attach(Listener(tell).start().recipient());
    sockets.keep_house(SystemTime::now(), &CLOSE);
    (0..3).for_each(|_| sockets.keep_house(mine.expires_at - SHORTLY, &CLOSE));
    (0..3).for_each(|_| sockets.keep_house(mine.expires_at, &CLOSE));
    ticket.order(Order::Hush);
    let expected = [Order::AnnounceExpiry { at: mine.expires_at }, CLOSE, Order::Hush];
    for order in expected {
        assert_eq!(told.recv().await, Some(order), "each once");
    }
}

#[actix_web::test]
async fn an_order_that_comes_before_the_actor_is_kept_for_it() {
    let sockets = sockets();
    let mine = session();
    let ticket = sockets.admit(&mine).expect("free");
    sockets.order_all(CLOSE);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    ticket.attach(Listener(tell).start().recipient());
    assert_eq!(told.recv().await, Some(CLOSE));
}

#[actix_web::test]
async fn a_login_keeps_its_own_sockets_and_closes_the_others() {
    let sockets = sockets();
    let before = session();
    let (mine, planted) = (sockets.admit(&before).expect("free"), sockets.admit(&before).expect("free"));
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (tell_other, mut told_other) = tokio::sync::mpsc::unbounded_channel();
    mine.attach(Listener(tell).start().recipient());
    planted.attach(Listener(tell_other).start().recipient());
    let login = common::assertion::Login { user: "ann".parse().expect("a name"), wallet: None, scopes: Default::default() };
    let logged_in = Arc::new(LoggedIn { session_id: before.id, login, keep: vec![mine.socket_id()] });
    let after = Session { generation: 1, expires_at: before.expires_at + Duration::from_secs(60), ..before.clone() };
    sockets.log_in(&after, &logged_in, &CLOSE);
    assert_eq!(told.recv().await, Some(Order::LogIn(after.clone(), logged_in)));
    assert_eq!(told_other.recv().await, Some(CLOSE));
    sockets.keep_house(before.expires_at - SHORTLY, &CLOSE);
    sockets.keep_house(after.expires_at - SHORTLY, &CLOSE);
    sockets.keep_house(after.expires_at - SHORTLY, &CLOSE);
    assert_eq!(told.recv().await, Some(Order::AnnounceExpiry { at: after.expires_at }), "it lasts as long as the login's token");
    mine.prolong(after.expires_at + Duration::from_secs(1));
    mine.order(CLOSE);
    assert_eq!(told.recv().await, Some(CLOSE), "once");
}

#[actix_web::test]
async fn later_credentials_prolong_the_sockets_of_the_same_login() {
    let sockets = sockets();
    let mine = session();
    let ticket = sockets.admit(&mine).expect("free");
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    ticket.attach(Listener(tell).start().recipient());
    let later = mine.expires_at + Duration::from_secs(60);
    sockets.prolong(&Session { generation: 1, expires_at: later, ..mine.clone() });
    sockets.keep_house(mine.expires_at - SHORTLY, &CLOSE);
    assert_eq!(told.recv().await, Some(Order::AnnounceExpiry { at: mine.expires_at }));
    sockets.prolong(&Session { expires_at: later, ..mine.clone() });
    sockets.keep_house(mine.expires_at - SHORTLY, &CLOSE);
    sockets.keep_house(later - SHORTLY, &CLOSE);
    assert_eq!(told.recv().await, Some(Order::AnnounceExpiry { at: later }));
}

#[actix_web::test]
async fn a_token_of_a_minute_is_not_spent_on_margins() {
    let sockets = OpenSockets::new(SocketLimits { max_sockets: 3, max_of_session: 2, margin: Duration::from_secs(60) });
    let mine = session();
    let ticket = sockets.admit(&mine).expect("free");
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    ticket.attach(Listener(tell).start().recipient());
    let before = |seconds| mine.expires_at - Duration::from_secs(seconds);
    for seconds in [31, 29, 7, 5] {
        sockets.keep_house(before(seconds), &CLOSE);
    }
    assert_eq!(told.recv().await, Some(Order::AnnounceExpiry { at: mine.expires_at }));
    assert_eq!(told.recv().await, Some(CLOSE));
}

#[actix_web::test]
async fn only_sockets_of_older_tokens_are_reached_by_what_revokes_those() {
    let sockets = sockets();
    let mine = session();
    let older = sockets.admit(&mine).expect("free");
    let newer = sockets.admit(&Session { generation: 1, ..mine.clone() }).expect("free");
    let [(tell, mut told), (tell_newer, mut told_newer)] = [(); 2].map(|()| tokio::sync::mpsc::unbounded_channel());
    older.attach(Listener(tell).start().recipient());
    newer.attach(Listener(tell_newer).start().recipient());
    sockets.order_older(mine.id, 1, &CLOSE);
    assert_eq!(told.recv().await, Some(CLOSE));
    sockets.order_all(Order::AnnounceDrain { close_within_ms: 1 });
    assert_eq!(told_newer.recv().await, Some(Order::AnnounceDrain { close_within_ms: 1 }), "not the close");
}
