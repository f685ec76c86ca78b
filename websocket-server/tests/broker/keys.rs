//! Agent keys from the file: who is admitted, what they reach, and what happens to open sockets
//! when a key ends.

use std::time::{Duration, SystemTime};

use common::{
    audit::Event,
    config::{Backend, Durability, Settings},
};
use identity::agent_keys::{Glob, KeyFile, NewKey, Scopes};
use serde_json::{Value, json};

use crate::harness::{Ended, Peer, TestBroker, eventually};

struct Place {
    folder: tempfile::TempDir,
    file: KeyFile,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::in_folder(folder.path());
        Self { folder, file }
    }

    fn key(&self, name: &str, scopes: Scopes) -> String {
        self.ending(name, scopes, None)
    }

    fn ending(&self, name: &str, scopes: Scopes, expires_at: Option<SystemTime>) -> String {
        let key = self.file.create(&NewKey { name: name.into(), scopes, expires_at }, SystemTime::now());
        key.unwrap().reveal().to_owned()
    }

    /// Changes the scopes of a key, as an operator does who edits the file.
    fn rescope(&self, name: &str, scopes: &Scopes) {
        let text = std::fs::read_to_string(self.file.path()).unwrap();
        let mut content: Value = serde_json::from_str(&text).unwrap();
        let keys = content["keys"].as_array_mut().unwrap();
        let key = keys.iter_mut().find(|key| key["name"] == name).unwrap();
        key["scopes"] = serde_json::to_value(scopes).unwrap();
        std::fs::write(self.file.path(), content.to_string()).unwrap();
    }

    async fn broker(&self) -> TestBroker {
        let folder = self.folder.path().to_owned();
        TestBroker::with(|settings: &mut Settings| settings.data.dir = folder).await
    }
}

fn globs(patterns: &[&str]) -> Vec<Glob> {
    patterns.iter().map(|pattern| pattern.parse().unwrap()).collect()
}

async fn agent(broker: &TestBroker, id: &str, key: &str) -> Peer {
    let mut peer = broker.dial(&format!("/ws/agent?agent_id={id}"), Some(key)).await.expect("upgraded");
    peer.expect("connection:ack").await;
    peer.settle().await;
    peer
}

/// Sends to a target and returns the code of the refusal, or nothing if there was none.
async fn refusal(peer: &mut Peer, target: &str, delivery: &str) -> Option<String> {
    let id = common::id::SessionId::fresh().to_string();
    peer.send(json!({"type":"job:new","id":id,"target":target,"delivery":delivery})).await;
    peer.send(json!({"type":"agent:list","id":"done"})).await;
    let mut code = None;
    loop {
        let frame = peer.next().await;
        if frame["type"] == "system:error" {
            assert_eq!(frame["correlation_id"], id, "{frame}");
            code = frame["payload"]["code"].as_str().map(str::to_owned);
        }
        if frame["type"] == "agent:listed" && frame["correlation_id"] == "done" {
            return code;
        }
    }
}

#[actix_rt::test]
async fn a_key_of_the_file_works_beside_those_of_the_configuration() {
    let place = Place::new();
    let key = place.key("one", Scopes::everything());
    let broker = place.broker().await;
    agent(&broker, "a", &key).await;
    broker.agent("b").await;
    assert_eq!(broker.dial("/ws/agent", Some(&format!("{key}x"))).await.map(drop), Err(401));
    let later = place.key("two", Scopes::everything());
    broker.handle.reload_keys().await;
    agent(&broker, "c", &later).await;
}

#[actix_rt::test]
async fn the_sockets_of_a_revoked_key_are_closed_and_no_others() {
    let place = Place::new();
    let (key, other) = (place.key("one", Scopes::everything()), place.key("two", Scopes::everything()));
    let broker = place.broker().await;
    let (mut a, mut b, mut c) = (agent(&broker, "a", &key).await, agent(&broker, "b", &other).await, broker.agent("c").await);
    place.file.revoke("one", SystemTime::now()).unwrap();
    broker.handle.reload_keys().await;
    assert_eq!(a.ended().await, Ended::Code(4003));
    assert_eq!(broker.dial("/ws/agent", Some(&key)).await.map(drop), Err(401));
    b.settle().await;
    c.settle().await;
    let refusals = broker.stats().await["errors"].to_string();
    assert!(refusals.contains("agent_key_revoked"), "{refusals}");
}

#[actix_rt::test]
async fn a_socket_that_was_not_registered_yet_is_closed_when_it_registers() {
    let place = Place::new();
    let key = place.key("one", Scopes::everything());
    let broker = place.broker().await;
    let mut a = broker.dial("/ws/agent", Some(&key)).await.expect("upgraded");
    a.expect("connection:ack").await;
    place.file.revoke("one", SystemTime::now()).unwrap();
    broker.handle.reload_keys().await;
    a.send(json!({"type":"agent:register","payload":{"agent_id":"a"}})).await;
    assert_eq!(a.ended().await, Ended::Code(4003));
}

#[actix_rt::test]
async fn a_change_of_the_file_is_noticed_without_being_told() {
    let place = Place::new();
    let key = place.key("one", Scopes::everything());
    let broker = place.broker().await;
    let mut a = agent(&broker, "a", &key).await;
    place.file.revoke("one", SystemTime::now()).unwrap();
    assert_eq!(a.ended().await, Ended::Code(4003));
}

#[actix_rt::test]
async fn an_expired_key_is_refused_and_its_sockets_are_closed() {
    let place = Place::new();
    let key = place.ending("short", Scopes::everything(), Some(SystemTime::now() + Duration::from_secs(4)));
    let broker = place.broker().await;
    let mut a = agent(&broker, "a", &key).await;
    assert_eq!(a.ended().await, Ended::Code(4001));
    assert_eq!(broker.dial("/ws/agent", Some(&key)).await.map(drop), Err(401));
    let refusals = broker.stats().await["errors"].to_string();
    assert!(refusals.contains("agent_key_expired"), "{refusals}");
}

#[actix_rt::test]
async fn a_key_is_for_the_ids_in_its_scope() {
    let place = Place::new();
    let key = place.key("bots", Scopes { connect_as: globs(&["bot-*"]), ..Scopes::everything() });
    let broker = place.broker().await;
    agent(&broker, "bot-1", &key).await;
    assert_eq!(broker.dial("/ws/agent?agent_id=planner", Some(&key)).await.map(drop), Err(403));

    let mut unnamed = broker.dial("/ws/agent", Some(&key)).await.expect("upgraded");
    unnamed.send(json!({"type":"agent:register","id":"1","payload":{"agent_id":"planner"}})).await;
    assert_eq!(unnamed.expect_error("not_allowed").await["correlation_id"], "1");
    unnamed.send(json!({"type":"agent:register","id":"2","payload":{"agent_id":"bot-2"}})).await;
    assert_eq!(unnamed.expect("agent:registered").await["payload"]["agent_id"], "bot-2");

    let mut silent = broker.dial("/ws/agent", Some(&key)).await.expect("upgraded");
    silent.expect_error("not_allowed").await;
    assert_eq!(silent.ended().await, Ended::Code(4003));
    let listed = &broker.stats().await["agents"]["connected"];
    assert!(listed.as_u64().is_some_and(|count| count <= 2), "{listed}");
    let noted = broker.noted(Event::Refusal).await;
    let refused = noted.iter().filter(|entry| entry.what.starts_with("not_allowed"));
    let refused: Vec<_> = refused.map(|entry| (entry.who.as_str(), entry.origin.as_str())).collect();
    assert_eq!(refused, [("", "127.0.0.1"); 2], "{noted:?}");
}

#[actix_rt::test]
async fn an_agent_sends_to_what_its_key_reaches() {
    let place = Place::new();
    let scopes = Scopes {
        connect_as: globs(&["*"]),
        agents: globs(&["friend"]),
        topics: globs(&["room/*"]),
        users: globs(&["ann"]),
        anonymous: false,
    };
    let broker = place.broker().await;
    let key = place.key("bounded", scopes);
    broker.handle.reload_keys().await;
    let (mut friend, mut stranger) = (broker.agent("friend").await, broker.agent("stranger").await);
    let (mut ann, mut bob) = (broker.session_of_user("ann").await, broker.session_of_user("bob").await);
    let nobody = broker.session().await;
    let mut bounded = agent(&broker, "bounded", &key).await;

    for (target, live, durable) in [
        ("agent:friend", None, None),
        ("agent:bounded", None, None),
        ("agent:stranger", Some("not_allowed"), Some("not_allowed")),
        ("agent:away", Some("not_allowed"), Some("not_allowed")),
        (&*ann.address(), None, None),
        (&*bob.address(), Some("session_not_found"), Some("not_allowed")),
        (&*nobody.address(), Some("session_not_found"), Some("not_allowed")),
        ("session:6f9619ff-8b86-4011-b42d-00c04fc964ff", Some("session_not_found"), Some("not_allowed")),
        ("user:ann", None, None),
        ("user:bob", Some("not_allowed"), Some("not_allowed")),
        ("topic:room/1", None, None),
        ("topic:hall", Some("not_allowed"), Some("not_allowed")),
        ("broadcast:agents", Some("not_allowed"), Some("not_allowed")),
        ("broadcast:sessions", Some("not_allowed"), Some("not_allowed")),
    ] {
        assert_eq!(refusal(&mut bounded, target, "ephemeral").await.as_deref(), live, "{target}");
        assert_eq!(refusal(&mut bounded, target, "durable").await.as_deref(), durable, "{target}, durable");
    }
    friend.expect("job:new").await;
    ann.expect("job:new").await;
    stranger.expect_nothing().await;
    bob.expect_nothing().await;

    bounded.send(json!({"type":"topic:subscribe","id":"s","payload":{"topic":"room/1"}})).await;
    bounded.expect("topic:subscribed").await;
    bounded.send(json!({"type":"topic:subscribe","id":"t","payload":{"topic":"hall"}})).await;
    assert_eq!(bounded.expect_error("not_allowed").await["payload"]["target"], "topic:hall");
}

#[actix_rt::test]
async fn accepted_messages_are_confirmed_again_though_the_receiver_is_out_of_reach_now() {
    let place = Place::new();
    let key = place.key("anns", Scopes { users: globs(&["ann"]), anonymous: false, ..Scopes::everything() });
    let broker = place.broker().await;
    let mut bounded = agent(&broker, "bounded", &key).await;
    let ann = broker.session_of_user("ann").await;
    let left = json!({"type":"job:new","id":"1","target":ann.address(),"delivery":"durable"});
    bounded.send(left.clone()).await;
    let seq = bounded.expect("message:accepted").await["payload"]["seq"].clone();
    ann.close().await;
    bounded.expect("session:disconnected").await;
    // Nobody knows now whose session it was.
    let mut again = left.clone();
    again["id"] = json!("2");
    bounded.send(again).await;
    bounded.expect_error("not_allowed").await;
    bounded.send(left).await;
    let confirmed = bounded.expect("message:accepted").await;
    assert_eq!((&confirmed["payload"]["seq"], &confirmed["payload"]["duplicate"]), (&seq, &json!(true)), "{confirmed}");
}

#[actix_rt::test]
async fn an_agent_is_told_of_and_receives_from_users_within_its_scopes() {
    let place = Place::new();
    let key = place.key("anns", Scopes { users: globs(&["ann"]), anonymous: false, ..Scopes::everything() });
    let broker = place.broker().await;
    let mut bounded = agent(&broker, "bounded", &key).await;
    let (mut bob, mut ann) = (broker.session_of_user("bob").await, broker.session_of_user("ann").await);
    let heard_of = bounded.expect("session:connected").await;
    assert_eq!(heard_of["payload"]["session_id"], json!(ann.session_id), "{heard_of}");

    bounded.send(json!({"type":"session:list","id":"l"})).await;
    let listed = bounded.expect("session:listed").await;
    assert_eq!((&listed["payload"]["total"], listed["payload"]["sessions"].as_array().map(Vec::len)), (&json!(1), Some(1)));

    for peer in [&mut bob, &mut ann] {
        peer.send(json!({"type":"topic:subscribe","payload":{"topic":"room"}})).await;
        peer.expect("topic:subscribed").await;
    }
    bounded.send(json!({"type":"topic:subscribe","id":"r","payload":{"topic":"room","presence":true}})).await;
    let members = bounded.expect("topic:subscribed").await["payload"].clone();
    assert_eq!(members["member_count"], 2, "ann and itself: {members}");
    assert!(!members["members"].to_string().contains(&bob.address()), "{members}");

    assert_eq!(refusal(&mut bob, "agent:bounded", "ephemeral").await.as_deref(), Some("not_allowed"));
    assert_eq!(refusal(&mut bob, "agent:bounded", "durable").await.as_deref(), Some("not_allowed"));
    assert_eq!(refusal(&mut ann, "agent:bounded", "ephemeral").await, None);
    assert_eq!(bounded.expect("job:new").await["source"], ann.address());
}

#[actix_rt::test]
async fn no_message_outside_an_agents_scopes_is_stored_for_it_while_it_is_away() {
    let place = Place::new();
    let key = place.key("anns", Scopes { users: globs(&["ann"]), anonymous: false, ..Scopes::everything() });
    let on_disk = |settings: &mut Settings| {
        settings.data.dir = place.folder.path().to_owned();
        settings.store.backend = Backend::Embedded;
        settings.store.durability = Durability::Process;
    };
    let broker = TestBroker::with(on_disk).await;
    agent(&broker, "bounded", &key).await.close().await;
    broker.handle.drain().await;
    // It was connected in an earlier life of the broker.
    let broker = TestBroker::with(on_disk).await;
    let (mut bob, mut ann) = (broker.session_of_user("bob").await, broker.session_of_user("ann").await);
    assert_eq!(refusal(&mut bob, "agent:bounded", "durable").await.as_deref(), Some("not_allowed"));
    assert_eq!(refusal(&mut ann, "agent:bounded", "durable").await, None);
    agent(&broker, "bounded", &key).await.close().await;
    eventually("it is away", async || broker.handle.broker().router.read().agents().is_empty()).await;
    assert_eq!(refusal(&mut bob, "agent:bounded", "durable").await.as_deref(), Some("not_allowed"));
    // What its key reaches from now on is known when it connects.
    place.file.revoke("anns", SystemTime::now()).unwrap();
    broker.handle.broker().reload_keys().unwrap();
    assert_eq!(refusal(&mut ann, "agent:bounded", "durable").await.as_deref(), Some("agent_not_found"));
}

#[actix_rt::test]
async fn agents_whose_keys_were_changed_while_the_broker_was_down_are_forgotten() {
    let place = Place::new();
    let on_disk = |settings: &mut Settings| {
        settings.data.dir = place.folder.path().to_owned();
        settings.store.backend = Backend::Embedded;
        settings.store.durability = Durability::Process;
    };
    let [same, narrowed, widened, revoked] = [
        ("same", Scopes::everything()),
        ("narrowed", Scopes::everything()),
        ("widened", Scopes { users: globs(&["ann"]), ..Scopes::everything() }),
        ("revoked", Scopes::everything()),
    ]
    .map(|(name, scopes)| place.key(name, scopes));
    let broker = TestBroker::with(on_disk).await;
    for (id, key) in [("same", &same), ("narrowed", &narrowed), ("widened", &widened), ("revoked", &revoked)] {
        agent(&broker, id, key).await.close().await;
    }
    broker.handle.drain().await;

    place.rescope("narrowed", &Scopes { users: globs(&["ann"]), anonymous: false, ..Scopes::everything() });
    place.rescope("widened", &Scopes::everything());
    place.file.revoke("revoked", SystemTime::now()).unwrap();
    let broker = TestBroker::with(on_disk).await;
    let (mut ann, mut bob) = (broker.session_of_user("ann").await, broker.session_of_user("bob").await);
    for peer in [&mut ann, &mut bob] {
        assert_eq!(refusal(peer, "agent:same", "durable").await, None);
        for id in ["narrowed", "widened", "revoked"] {
            let refused = refusal(peer, &format!("agent:{id}"), "durable").await;
            assert_eq!(refused.as_deref(), Some("agent_not_found"), "{id}");
        }
    }
    // One that connects again is known again, with its key's present scopes.
    agent(&broker, "narrowed", &narrowed).await.close().await;
    assert_eq!(refusal(&mut bob, "agent:narrowed", "durable").await.as_deref(), Some("not_allowed"));
    assert_eq!(refusal(&mut ann, "agent:narrowed", "durable").await, None);
}

#[actix_rt::test]
async fn the_last_use_is_saved_at_the_end() {
    let place = Place::new();
    let key = place.key("one", Scopes::everything());
    let broker = place.broker().await;
    agent(&broker, "a", &key).await.close().await;
    let used = || place.file.list(SystemTime::now()).unwrap()[0].last_used_at;
    assert_eq!(used(), None);
    broker.handle.drain().await;
    eventually("the use is in the file", async || used().is_some()).await;
}

#[actix_rt::test]
async fn operators_list_keys_and_have_them_read_again() {
    const TOKEN: &str = "an-operators-token-of-at-least-32-bytes";
    let place = Place::new();
    let folder = place.folder.path().to_owned();
    let broker = TestBroker::with(|settings: &mut Settings| {
        settings.data.dir = folder;
        settings.broker.operator_token = common::secret::Secret::new(TOKEN);
    })
    .await;
    let operator = format!("Authorization: Bearer {TOKEN}\r\n");
    let key = place.key("team-a", Scopes::everything());
    assert_eq!(broker.ask("POST", "/api/v1/keys/reload", &operator).await.0, 204);
    let mut peer = agent(&broker, "a", &key).await;
    let (status, listed) = broker.ask("GET", "/api/v1/keys", &operator).await;
    assert_eq!((status, &listed["keys"][0]["name"], &listed["keys"][0]["state"]), (200, &json!("team-a"), &json!("active")));
    assert!(listed["keys"][0]["last_used_at"].is_string() && !listed.to_string().contains(&key), "{listed}");
    place.file.revoke("team-a", SystemTime::now()).unwrap();
    assert_eq!(broker.ask("POST", "/api/v1/keys/reload", &operator).await.0, 204);
    assert_eq!(peer.ended().await, Ended::Code(4003));

    for wrong in ["", "Authorization: Bearer test-agent-key\r\n", "Authorization: Bearer\r\n"] {
        let (status, body) = broker.ask("POST", "/api/v1/keys/reload", wrong).await;
        assert_eq!((status, &body["error"]["code"]), (401, &json!("unauthorized")), "{wrong}");
    }
    assert_eq!(broker.ask("GET", "/api/v1/keys/reload", &operator).await.0, 405);
    std::fs::write(place.file.path(), "rubbish").unwrap();
    assert_eq!(broker.ask("POST", "/api/v1/keys/reload", &operator).await.0, 500);
    let without = TestBroker::start().await;
    assert_eq!(without.ask("GET", "/api/v1/keys", "Authorization: Bearer \r\n").await.0, 404, "nobody is an operator there");
}
