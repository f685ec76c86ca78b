//! Sessions that log in while they are connected, as their edge asserts.

use std::time::SystemTime;

use common::{
    assertion::{self, Acks, ClientIdentity, LoggedIn, Reading},
    audit::Event,
    backplane::ToEdge,
    id::SessionId,
    secret::Secret,
};
use futures_util::StreamExt;
use identity::agent_keys::{KeyFile, NewKey, Scopes};
use serde_json::json;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use uuid::Uuid;

use crate::harness::{Ended, Peer, TestBroker, login};

/// A session with a socket id.
fn identity(session_id: SessionId) -> ClientIdentity {
    ClientIdentity { socket_id: Some(Uuid::new_v4()), ..ClientIdentity::anonymous(session_id) }
}

fn explicit() -> Reading {
    Reading { acks: Acks::Explicit, ..Reading::default() }
}

fn kept(identity: &ClientIdentity) -> Vec<Uuid> {
    identity.socket_id.into_iter().collect()
}

/// Asserts on a connection that its session has logged in.
async fn identify(peer: &mut Peer, broker: &TestBroker, session_id: SessionId, user: &str, keep: Vec<Uuid>) {
    let mut login = login(user);
    login.wallet = Some("0x52908400098527886E0F7030069857D2E4169EE7".into());
    let logged_in = LoggedIn { session_id, login, keep };
    let assertion = assertion::mint_login(&logged_in, &broker.settings.broker.bridge_secret).expect("signs");
    peer.send(json!({"type":"connection:identify","id":"login","payload":{"assertion":assertion}})).await;
}

#[actix_rt::test]
async fn a_session_becomes_its_users_in_place() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    agent.send(json!({"type":"job:new","id":"1","target":"user:ann","delivery":"durable","payload":"left"})).await;
    agent.expect("message:accepted").await;

    let identity = identity(SessionId::fresh());
    let mut session = broker.session_as(identity.clone()).await;
    agent.expect("session:connected").await;
    identify(&mut session, &broker, identity.session_id, "ann", kept(&identity)).await;

    let told = agent.expect("session:identified").await;
    assert_eq!(told["payload"]["session_id"], identity.session_id.to_string());
    assert_eq!((&told["payload"]["user_id"], &told["payload"]["authenticated"]), (&json!("ann"), &json!(true)));
    assert_eq!(told["payload"]["wallet_address"], "0x52908400098527886E0F7030069857D2E4169EE7");
    assert_eq!(session.expect("session:identified").await["payload"], told["payload"]);
    let left = session.expect("job:new").await;
    assert_eq!((&left["payload"], &left["channel"]), (&json!("left"), &json!("user:ann")));

    agent.send(json!({"type":"news:live","target":"user:ann"})).await;
    session.expect("news:live").await;
    agent.send(json!({"type":"session:list"})).await;
    assert_eq!(agent.expect("session:listed").await["payload"]["sessions"][0]["user_id"], "ann");
    let noted = broker.noted(Event::Authentication).await;
    assert_eq!(noted.iter().map(|entry| entry.what.as_str()).collect::<Vec<_>>(), ["logged in as ann"]);
    session.close().await;
    assert_eq!(agent.expect("session:disconnected").await["payload"]["user_id"], "ann");
    agent.send(json!({"type":"news:live","target":"user:ann"})).await;
    agent.expect_error("user_not_found").await;
    assert_eq!(broker.stats().await["queues"]["router_mailboxes"], json!([0]), "nothing waits any more");
}

#[actix_rt::test]
async fn a_stranger_who_is_refused_cannot_speak_for_the_session() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let mine = identity(SessionId::fresh());
    let owner = ClientIdentity { login: Some(login("ann")), reading: explicit(), ..mine.clone() };
    let mut session = broker.session_as(owner).await;
    agent.expect("session:connected").await;
    agent.send(json!({"type":"job:new","id":"1","target":session.address(),"delivery":"durable"})).await;
    agent.expect("message:accepted").await;
    let seq = session.expect("job:new").await["seq"].clone();

    // Its frames arrive before the broker checks whose connection it is.
    let socket = broker.handle.local().connect(identity(mine.session_id)).expect("admitted");
    let socket = WebSocketStream::from_raw_socket(socket, Role::Client, None).await;
    let mut stranger = broker.peer(socket, Some(mine.session_id));
    for frame in [
        json!({"type":"x:y","target":"agent:a","payload":"forged"}),
        json!({"type":"topic:subscribe","payload":{"topic":"room"}}),
        json!({"type":"message:ack","payload":{"seqs":[seq]}}),
    ] {
        stranger.send(frame).await;
    }
    assert_eq!(stranger.ended().await, Ended::Code(4001));
    agent.expect_nothing().await;
    assert_eq!(broker.channel(&session.address()).await.unacked, 1);
}

#[actix_rt::test]
async fn only_the_sockets_of_the_login_stay() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let mine = identity(SessionId::fresh());
    let (tab, planted) = (identity(mine.session_id), identity(mine.session_id));
    let mut first = broker.session_as(mine.clone()).await;
    let mut second = broker.session_as(tab.clone()).await;
    let mut stranger = broker.session_as(planted).await;
    stranger.send(json!({"type":"topic:subscribe","payload":{"topic":"room"}})).await;
    stranger.expect("topic:subscribed").await;

    identify(&mut first, &broker, mine.session_id, "ann", [kept(&mine), kept(&tab)].concat()).await;
    first.expect("session:identified").await;
    second.expect("session:identified").await;
    agent.send(json!({"type":"news:secret","target":first.address()})).await;
    agent.send(json!({"type":"news:secret","target":"topic:room"})).await;
    for tab in [&mut first, &mut second] {
        tab.expect("news:secret").await;
    }
    loop {
        match stranger.socket.next().await.expect("an end").expect("frames") {
            Message::Close(Some(close)) => {
                assert_eq!(u16::from(close.code), 4001);
                break;
            }
            Message::Text(text) => {
                assert!(!text.contains("news:secret") && !text.contains("identified"), "{text}");
            }
            _ => {}
        }
    }
    // A connection with the older credentials, or with another user's, is not admitted either.
    let mut late = broker.dial_session(&identity(mine.session_id)).await.expect("upgraded");
    assert_eq!(late.ended().await, Ended::Code(4001));
    let other = ClientIdentity { login: Some(login("bob")), ..identity(mine.session_id) };
    assert_eq!(broker.dial_session(&other).await.expect("upgraded").ended().await, Ended::Code(4003));
    let again = ClientIdentity { login: Some(login("ann")), ..identity(mine.session_id) };
    broker.session_as(again).await;
}

#[actix_rt::test]
async fn a_connection_that_comes_with_the_login_logs_its_session_in() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let before = identity(SessionId::fresh());
    let mut older = broker.session_as(before.clone()).await;
    agent.expect("session:connected").await;
    broker.session_as(ClientIdentity { login: Some(login("ann")), ..identity(before.session_id) }).await;
    assert_eq!(agent.expect("session:identified").await["payload"]["user_id"], "ann");
    assert_eq!(older.ended().await, Ended::Code(4001));
}

#[actix_rt::test]
async fn later_credentials_of_the_same_user_change_what_the_session_carries() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let mine = ClientIdentity { login: Some(login("ann")), ..identity(SessionId::fresh()) };
    let mut session = broker.session_as(mine.clone()).await;
    assert_eq!(agent.expect("session:connected").await["payload"]["wallet_address"], json!(null));
    identify(&mut session, &broker, mine.session_id, "ann", kept(&mine)).await;
    let told = agent.expect("session:identified").await;
    assert_eq!(
        (&told["payload"]["user_id"], &told["payload"]["wallet_address"]),
        (&json!("ann"), &json!("0x52908400098527886E0F7030069857D2E4169EE7"))
    );
    assert_eq!(session.expect("session:identified").await["payload"], told["payload"]);
    identify(&mut session, &broker, mine.session_id, "ann", kept(&mine)).await;
    session.settle().await;
    agent.expect_nothing().await;
    let noted = broker.noted(Event::Authentication).await;
    assert!(noted.is_empty(), "nobody logged in who was not: {noted:?}");
}

#[actix_rt::test]
async fn only_the_edge_can_set_the_user_of_a_session() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let mine = identity(SessionId::fresh());
    let mut session = broker.session_as(mine.clone()).await;
    let secret = Secret::new("another secret that is long enough, too");
    let forged = LoggedIn { session_id: mine.session_id, login: login("ann"), keep: kept(&mine) };
    let forged = assertion::mint_login(&forged, &secret).expect("signs");
    let connect =
        assertion::mint(&ClientIdentity { login: Some(login("ann")), ..mine.clone() }, &broker.settings.broker.bridge_secret)
            .expect("signs");
    for assertion in [forged.as_str(), connect.as_str(), "", "rubbish"] {
        session.send(json!({"type":"connection:identify","payload":{"assertion":assertion}})).await;
        session.expect_error("unauthorized").await;
    }
    session.send(json!({"type":"connection:identify","payload":{}})).await;
    session.expect_error("invalid_payload").await;
    // Another session's assertion, as if it had been intercepted.
    identify(&mut session, &broker, SessionId::fresh(), "ann", kept(&mine)).await;
    session.expect_error("forbidden").await;
    agent.send(json!({"type":"connection:identify","payload":{"assertion":forged}})).await;
    agent.expect_error("reserved_type").await;

    identify(&mut session, &broker, mine.session_id, "ann", kept(&mine)).await;
    session.expect("session:identified").await;
    identify(&mut session, &broker, mine.session_id, "bob", kept(&mine)).await;
    let refused = session.expect_error("already_logged_in").await;
    assert_eq!(refused["correlation_id"], "login");
}

#[actix_rt::test]
async fn later_credentials_are_sent_to_the_edge_only() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let mut session = broker.session().await;
    agent.expect("session:connected").await;
    session.send(json!({"type":"connection:refresh","id":"r1","target":"agent:a","payload":{"token":"a.b.c"}})).await;
    let asked = loop {
        match session.socket.next().await.expect("open").expect("frames") {
            Message::Binary(payload) => break ToEdge::parse(&payload).expect("what the broker asks"),
            Message::Text(text) => assert!(!text.contains("a.b.c"), "{text}"),
            _ => {}
        }
    };
    let ToEdge::Refresh { id, token } = asked;
    assert_eq!((id.as_deref(), token.reveal()), (Some("r1"), "a.b.c"));
    agent.expect_nothing().await;
}

#[actix_rt::test]
async fn a_user_who_logs_in_in_place_pays_for_what_comes_after() {
    let broker = TestBroker::with(|settings| settings.limits.max_user_connections = 1).await;
    let _agent = broker.agent("a").await;
    let (one, other) = (identity(SessionId::fresh()), identity(SessionId::fresh()));
    let mut first = broker.session_as(one.clone()).await;
    let mut second = broker.session_as(other.clone()).await;
    identify(&mut first, &broker, one.session_id, "ann", kept(&one)).await;
    first.expect("session:identified").await;
    first.settle().await;
    identify(&mut second, &broker, other.session_id, "ann", kept(&other)).await;
    second.expect("session:identified").await;
    second.send(json!({"type":"agent:list"})).await;
    second.expect_error("too_many_connections").await;
    assert_eq!(second.ended().await, Ended::Code(1013));
    first.settle().await;
}

#[actix_rt::test]
async fn an_agent_is_told_of_logins_within_its_scopes() {
    let folder = tempfile::tempdir().expect("temp dir");
    let file = KeyFile::in_folder(folder.path());
    let key = |name: &str, users: &[&str], anonymous| {
        let users = users.iter().map(|user| user.parse().expect("a pattern")).collect();
        let scopes = Scopes { users, anonymous, ..Scopes::everything() };
        let new = NewKey { name: name.into(), scopes, expires_at: None };
        file.create(&new, SystemTime::now()).expect("made").reveal().to_owned()
    };
    let (strangers, anns) = (key("strangers", &[], true), key("anns", &["ann"], false));
    let broker = TestBroker::with(|settings| settings.data.dir = folder.path().to_owned()).await;
    let mut agents = Vec::new();
    for (id, key) in [("strangers", strangers), ("anns", anns)] {
        let mut peer = broker.dial(&format!("/ws/agent?agent_id={id}"), Some(&key)).await.expect("upgraded");
        peer.expect("connection:ack").await;
        peer.settle().await;
        agents.push(peer);
    }
    let identity = identity(SessionId::fresh());
    let mut session = broker.session_as(identity.clone()).await;
    identify(&mut session, &broker, identity.session_id, "ann", kept(&identity)).await;
    session.expect("session:identified").await;
    let [strangers, anns] = &mut agents[..] else { panic!("two agents") };
    strangers.expect("session:connected").await;
    let gone = strangers.expect("session:disconnected").await;
    assert_eq!((&gone["payload"]["user_id"], gone.to_string().contains("ann\"")), (&json!(null), false), "{gone}");
    let seen = anns.expect("session:connected").await;
    assert_eq!(seen["payload"]["user_id"], "ann", "it had heard nothing before");
    anns.expect_nothing().await;
    strangers.expect_nothing().await;
}

/// Everything that scopes limit, with its scope.
const ABILITIES: [(&str, &str); 4] = [
    ("bridge:send", r#"{"type":"x:y","id":"1","target":"agent:a"}"#),
    ("bridge:publish", r#"{"type":"x:y","id":"1","target":"topic:session/SESSION/own"}"#),
    ("bridge:subscribe", r#"{"type":"topic:subscribe","id":"1","payload":{"topic":"room"}}"#),
    ("bridge:history", r#"{"type":"channel:history","id":"1","payload":{"channel":"session:SESSION"}}"#),
];

#[actix_rt::test]
async fn the_scopes_of_a_login_are_all_that_its_session_may_do() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let refused = async |session: &mut Peer, id: SessionId| {
        let mut refused = Vec::new();
        for (ability, frame) in ABILITIES {
            session.send_text(&frame.replace("SESSION", &id.to_string())).await;
            session.send(json!({"type":"agent:list","id":"then"})).await;
            loop {
                match session.next().await {
                    frame if frame["correlation_id"] == "then" => break,
                    frame if frame["payload"]["code"] == "scope_required" => refused.push(ability),
                    _ => {}
                }
            }
        }
        refused
    };
    let with = |scopes: &[&str]| {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        ClientIdentity { login: Some(assertion::Login { scopes, ..login("ann") }), ..identity(SessionId::fresh()) }
    };
    for free in [&[][..], &["openid", "publish"]] {
        let identity = with(free);
        let mut session = broker.session_as(identity.clone()).await;
        assert_eq!(refused(&mut session, identity.session_id).await, [""; 0], "{free:?}");
    }
    for (own, _) in ABILITIES {
        let identity = with(&["openid", own]);
        let mut session = broker.session_as(identity.clone()).await;
        let others: Vec<_> = ABILITIES.iter().map(|(ability, _)| *ability).filter(|other| *other != own).collect();
        assert_eq!(refused(&mut session, identity.session_id).await, others);
        agent.send(json!({"type":"news:yours","target":session.address()})).await;
        session.expect("news:yours").await;
    }
}

#[actix_rt::test]
async fn routes_for_users_refuse_others_with_one_code_whether_the_target_exists_or_not() {
    let broker = TestBroker::with(|settings| {
        settings.access.user_agents = vec!["staff-*".into()];
        settings.access.user_topics = vec!["members/*".into()];
        settings.access.public_topics = Vec::new();
    })
    .await;
    let _agent = broker.agent("staff-1").await;
    let mut session = broker.session().await;
    for target in ["agent:staff-1", "agent:staff-2"] {
        session.send(json!({"type":"x:y","id":target,"target":target})).await;
        assert_eq!(session.expect_error("login_required").await["correlation_id"], target);
    }
    session.send(json!({"type":"topic:subscribe","payload":{"topic":"members/1"}})).await;
    session.expect_error("login_required").await;
    session.send(json!({"type":"topic:subscribe","payload":{"topic":"nobodys"}})).await;
    session.expect_error("not_allowed").await;
    let mut user = broker.session_of_user("ann").await;
    user.send(json!({"type":"topic:subscribe","payload":{"topic":"members/1"}})).await;
    user.expect("topic:subscribed").await;
}
