//! A broker, its peers, and the owners of everything.

use std::{collections::BTreeMap, time::SystemTime};

use common::{
    assertion::{self, Acks, ClientIdentity, LoggedIn, Reading},
    id::{ClientName, SessionId},
};
use identity::agent_keys::{KeyFile, NewKey, Scopes};
use proptest::{prelude::*, test_runner::TestCaseError};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    owners::{BOUNDED, NAMES, Owners, SESSIONS, TRUSTED, To},
    steps::{Manner, Manners, SLOTS, Step, Want, Who},
    watch::{Seen, Watched},
};
use crate::harness::{TestBroker, eventually, login};

/// A user that does not exist.
const NOBODY: &str = "nob-000000";

pub struct World {
    broker: TestBroker,
    _folder: tempfile::TempDir,
    bounded_key: String,
    owners: Owners,
    slots: [Option<Watched>; SLOTS],
    secrets: Vec<String>,
    seen: Seen,
    last: usize,
}

type Outcome = Result<(), TestCaseError>;

impl World {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let users = vec![NAMES[0].parse().expect("a pattern")];
        let scopes = Scopes { users, anonymous: false, ..Scopes::everything() };
        let new = NewKey { name: BOUNDED.into(), scopes, expires_at: None };
        let key = KeyFile::in_folder(folder.path()).create(&new, SystemTime::now()).expect("made");
        let broker = TestBroker::with(|settings| {
            settings.data.dir = folder.path().to_owned();
            settings.access.visible_members = Vec::new();
        })
        .await;
        let sessions: [SessionId; SESSIONS] = std::array::from_fn(|_| SessionId::fresh());
        let secrets = sessions.iter().map(ToString::to_string).chain(NAMES.map(str::to_owned)).collect();
        let (slots, seen, owners) = (std::array::from_fn(|_| None), Seen::default(), Owners::of(sessions));
        Self { broker, _folder: folder, bounded_key: key.reveal().to_owned(), owners, slots, secrets, seen, last: 0 }
    }

    /// The names that a user may hear: its own, and its sessions'.
    fn of_user(&self, user: usize) -> Vec<String> {
        let sessions = (0..SESSIONS).filter(|session| self.owners.users[*session] == Some(user));
        sessions.map(|session| self.owners.sessions[session].to_string()).chain([NAMES[user].to_owned()]).collect()
    }

    /// The session at a place.
    fn session_at(&self, at: usize) -> Option<usize> {
        self.slots[at].as_ref().and_then(|one| one.who.session())
    }

    fn is_here(&self, who: Who) -> bool {
        self.slots.iter().flatten().any(|one| one.who == who)
    }

    fn next_id(&mut self) -> String {
        self.last += 1;
        format!("m{}", self.last)
    }

    pub async fn step(&mut self, step: Step) -> Outcome {
        match step {
            Step::Connect(at, who, manner) if self.slots[at].is_none() => self.connect(at, who, manner).await?,
            Step::Connect(..) => {}
            Step::Leave(at) => self.leave(at).await?,
            Step::LogIn(at, user, kept) => self.log_in(at, user, kept).await?,
            Step::Send(at, to, manners) => self.send(at, to, manners).await?,
            Step::Want(at, to, want) => self.want(at, to, want).await?,
            Step::List(at) => self.ask(at, json!({"type":"session:list"})).await.map(drop)?,
            Step::Probe(at, to, want) => self.probe(at, to, |address| Self::frame_of(address, want, None)).await?,
            Step::ProbeSend(at, to, durable) => {
                let delivery = if durable { "durable" } else { "ephemeral" };
                self.probe(at, to, |address| json!({"type":"note:probe","target":address,"delivery":delivery})).await?;
            }
        }
        self.read_all().await
    }

    /// Everybody reads what has come.
    async fn read_all(&mut self) -> Outcome {
        for slot in &mut self.slots {
            if let Some(one) = slot {
                one.settle(&self.secrets, &mut self.seen).await?;
                if one.is_over {
                    *slot = None;
                }
            }
        }
        Ok(())
    }

    pub async fn finish(mut self) -> Result<Seen, TestCaseError> {
        for at in 0..SLOTS {
            self.leave(at).await?;
        }
        Ok(self.seen)
    }

    async fn connect(&mut self, at: usize, who: Who, manner: Manner) -> Outcome {
        let is_here = |session: usize| self.slots.iter().flatten().any(|one| one.who == Who::Session(session));
        let is_agent = matches!(who, Who::Trusted | Who::Bounded);
        let client = match manner {
            Manner::Named => ClientName::new("tab-1").ok(),
            Manner::EdgeBack if !is_agent => ClientName::new("@edge/1").ok(),
            _ => None,
        };
        let reading = Reading {
            acks: if matches!(manner, Manner::Plain | Manner::EdgeBack) { Acks::Automatic } else { Acks::Explicit },
            away_since: client.is_some().then_some(0).filter(|_| manner == Manner::EdgeBack),
            client,
            resume: manner == Manner::Resuming,
            ..Reading::default()
        };
        let (session, user) = match who {
            Who::Trusted | Who::Bounded => return self.connect_agent(at, who, &reading).await,
            Who::Session(session) => (session, self.owners.users[session]),
            // While nobody with the login is connected, the broker cannot know of it
            // (docs/security.md).
            Who::Stale(session) if self.owners.users[session].is_some() && is_here(session) => (session, None),
            Who::Foreign(session) if is_here(session) => match self.owners.users[session] {
                Some(user) => (session, Some(1 - user)),
                None => return Ok(()),
            },
            Who::LoggedIn(session, user) if self.owners.users[session].is_none() => (session, Some(user)),
            Who::Stale(_) | Who::Foreign(_) | Who::LoggedIn(..) => return Ok(()),
        };
        let socket_id = Some(Uuid::new_v4());
        let identity = ClientIdentity {
            login: user.map(|user| login(NAMES[user])),
            socket_id,
            reading,
            ip: Some(format!(
                "ip-of-{}",
                user.map_or_else(|| self.owners.sessions[session].to_string(), |user| NAMES[user].to_owned())
            )),
            ..ClientIdentity::anonymous(self.owners.sessions[session])
        };
        let peer = self.broker.dial_session(&identity).await.map_err(|status| TestCaseError::fail(status.to_string()))?;
        let own = user.map(|user| self.of_user(user)).unwrap_or_default();
        let own = own.into_iter().chain([self.owners.sessions[session].to_string()]).collect();
        let mut one = Watched {
            peer,
            who: Who::Session(session),
            socket_id,
            own,
            named: Default::default(),
            is_free: false,
            is_over: false,
            asked: None,
            position: None,
        };
        if matches!(who, Who::Stale(_) | Who::Foreign(_)) {
            // It is closed, and hears nothing else: not even what belongs to those whose
            // credentials it has.
            one.own = [self.owners.sessions[session].to_string()].into();
            let before = self.seen.own;
            one.drain(&self.secrets, &mut self.seen).await?;
            prop_assert_eq!(self.seen.own, before, "somebody with {:?} was given something", who);
            self.seen.strangers += 1;
            return Ok(());
        }
        one.settle(&self.secrets, &mut self.seen).await?;
        if let Who::LoggedIn(_, user) = who {
            self.on_login(session, user, &[]).await?;
        }
        self.slots[at] = Some(one);
        Ok(())
    }

    async fn connect_agent(&mut self, at: usize, who: Who, reading: &Reading) -> Outcome {
        let (id, key) = if who == Who::Trusted { (TRUSTED, "test-agent-key") } else { (BOUNDED, self.bounded_key.as_str()) };
        let acks = if reading.acks == Acks::Explicit { "explicit" } else { "auto" };
        let client = reading.client.as_ref().map_or_else(String::new, |client| format!("&client={client}"));
        let path = format!("/ws/agent?agent_id={id}&ack={acks}&resume={}{client}", reading.resume);
        let peer = self.broker.dial(&path, Some(key)).await.map_err(|status| TestCaseError::fail(status.to_string()))?;
        let mut one = Watched {
            peer,
            who,
            socket_id: None,
            own: self.of_user(0).into_iter().collect(),
            named: Default::default(),
            is_free: who == Who::Trusted,
            is_over: false,
            asked: None,
            position: None,
        };
        one.settle(&self.secrets, &mut self.seen).await?;
        for slot in &mut self.slots {
            if let Some(older) = slot.as_mut().filter(|older| older.who == who) {
                older.drain(&self.secrets, &mut self.seen).await?;
                *slot = None;
            }
        }
        self.slots[at] = Some(one);
        Ok(())
    }

    async fn leave(&mut self, at: usize) -> Outcome {
        let Some(mut one) = self.slots[at].take() else { return Ok(()) };
        if one.peer.socket.close(None).await.is_ok() {
            one.drain(&self.secrets, &mut self.seen).await?;
        }
        let here = self.slots.iter().flatten().count();
        let broker = self.broker.handle.broker();
        eventually("it has left", || async { broker.router.read().peers().count() <= here }).await;
        Ok(())
    }

    /// A session has logged in: those of its sockets that are not `kept` no longer belong to it.
    async fn on_login(&mut self, session: usize, user: usize, kept: &[Uuid]) -> Outcome {
        self.owners.users[session] = Some(user);
        self.seen.logins += 1;
        let id = self.owners.sessions[session].to_string();
        let of_user = self.of_user(user);
        for slot in &mut self.slots {
            let Some(one) = slot else { continue };
            if one.own.contains(NAMES[user]) {
                one.own.insert(id.clone());
            }
            if one.who != Who::Session(session) {
                continue;
            }
            if one.socket_id.is_some_and(|id| kept.contains(&id)) {
                one.own.extend(of_user.clone());
            } else {
                one.drain(&self.secrets, &mut self.seen).await?;
                self.seen.strangers += 1;
                *slot = None;
            }
        }
        Ok(())
    }

    async fn log_in(&mut self, at: usize, user: usize, kept: usize) -> Outcome {
        let Some(Watched { who: Who::Session(session), socket_id, .. }) = &self.slots[at] else { return Ok(()) };
        let (session, mut keep) = (*session, Vec::from_iter(*socket_id));
        keep.extend(self.slots[kept].as_ref().and_then(|other| other.socket_id));
        let logged_in = LoggedIn { session_id: self.owners.sessions[session], login: login(NAMES[user]), keep: keep.clone() };
        let assertion = assertion::mint_login(&logged_in, &self.broker.settings.broker.bridge_secret).expect("signs");
        let id = self.next_id();
        let frame = json!({"type":"connection:identify","id":id,"payload":{"assertion":assertion}});
        let is_new = self.owners.users[session].is_none();
        if is_new {
            // What it hears from now on is its own. Nobody can know of it before.
            self.slots[at].as_mut().expect("it is there").say(&frame, &[]).await;
            return self.on_login(session, user, &keep).await;
        }
        let one = self.slots[at].as_mut().expect("it is there");
        one.say(&frame, &[]).await;
        one.settle(&self.secrets, &mut self.seen).await
    }

    async fn send(&mut self, at: usize, to: To, manners: Manners) -> Outcome {
        let to = self.owners.resolve(self.session_at(at), to);
        let Some((who, asked)) = self.slots[at].as_ref().map(|one| (one.who, one.asked.clone())) else { return Ok(()) };
        if manners.durable && to == To::Bounded && !self.is_here(Who::Bounded) {
            // It would wait for whoever may register there, whatever key they have
            // (docs/security.md).
            return Ok(());
        }
        let mut frame = json!({"type":"note:said","payload":{"whose":self.owners.whose(who.session(), to)}});
        if let Some(address) = self.owners.address(to) {
            frame["target"] = address.into();
        }
        frame["delivery"] = if manners.durable { "durable" } else { "ephemeral" }.into();
        if manners.durable && manners.receipt && matches!(to, To::Session(_) | To::User(_) | To::Trusted | To::Bounded) {
            frame["receipt"] = true.into();
        }
        if manners.durable && manners.retain && matches!(to, To::Open | To::OfUser(_) | To::OfSession(_)) {
            frame["retain"] = true.into();
        }
        if manners.request && matches!(to, To::Session(_) | To::Trusted | To::Bounded | To::Default) {
            frame["timeout_ms"] = 600_000.into();
        }
        if let Some(asked) = asked.filter(|_| manners.answers) {
            frame["correlation_id"] = asked.into();
        }
        if manners.durable {
            self.ask(at, frame).await.map(drop)
        } else {
            frame["id"] = self.next_id().into();
            let Some(one) = &mut self.slots[at] else { return Ok(()) };
            one.say(&frame, &self.secrets).await;
            one.settle(&self.secrets, &mut self.seen).await
        }
    }

    /// Sends a frame that is answered, and reads on to its answer.
    async fn ask(&mut self, at: usize, mut frame: Value) -> Result<Option<Value>, TestCaseError> {
        let id = self.next_id();
        frame["id"] = id.clone().into();
        let Some(one) = &mut self.slots[at] else { return Ok(None) };
        if frame["type"] == "session:list" && matches!(one.who, Who::Session(_)) {
            frame["type"] = "agent:list".into();
        }
        one.say(&frame, &self.secrets).await;
        one.answer(&id, &self.secrets, &mut self.seen).await
    }

    /// The frame of a request about the channel at an address.
    fn frame_of(address: &str, want: Want, position: Option<Value>) -> Value {
        let position = position.unwrap_or_else(|| json!({"epoch":"000000000000","seq":1}));
        let with = |kind: &str, payload: Value| json!({"type":kind,"payload":payload});
        match want {
            Want::Subscribe { presence, start } => {
                let from = [Value::Null, json!({"seq":0}), json!({"last":3})][start].clone();
                with("topic:subscribe", json!({"topic":address,"presence":presence,"from":from}))
            }
            Want::Unsubscribe => with("topic:unsubscribe", json!({"topic":address})),
            Want::History => with("channel:history", json!({"channel":address})),
            Want::DeadLetters => with("channel:history", json!({"channel":format!("dead:{address}")})),
            Want::Resume => with("connection:resume", json!({"channels":{address:position}})),
            Want::Ack => with("message:ack", json!({"channel":address,"through":position["seq"]})),
            Want::Nack => with("message:nack", json!({"channel":address,"seq":position["seq"]})),
        }
    }

    async fn want(&mut self, at: usize, to: To, want: Want) -> Outcome {
        let to = self.owners.resolve(self.session_at(at), to);
        let Some(one) = &self.slots[at] else { return Ok(()) };
        let position = one.position.clone().filter(|(channel, _)| Some(channel) == self.owners.address(to).as_ref());
        let is_topic = matches!(to, To::Open | To::OfUser(_) | To::OfSession(_));
        let Some(address) = self.owners.address(to) else { return Ok(()) };
        if matches!(want, Want::Subscribe { .. } | Want::Unsubscribe) && !is_topic {
            return Ok(());
        }
        let frame = Self::frame_of(&address, want, position.map(|(_, position)| position));
        if matches!(want, Want::Ack | Want::Nack) {
            // Answered only if it is wrong.
            let mut frame = frame;
            frame["id"] = self.next_id().into();
            let Some(one) = &mut self.slots[at] else { return Ok(()) };
            one.say(&frame, &self.secrets).await;
            return one.settle(&self.secrets, &mut self.seen).await;
        }
        self.ask(at, frame).await.map(drop)
    }

    /// Asks about what is another's and about what does not exist: both must be refused in the same
    /// words.
    async fn probe(&mut self, at: usize, to: To, frame: impl Fn(&str) -> Value) -> Outcome {
        let Some(one) = self.slots[at].as_ref().filter(|one| !one.is_free) else { return Ok(()) };
        let (secret, other) = match to {
            To::Session(session) | To::OfSession(session) => {
                (self.owners.sessions[session].to_string(), SessionId::fresh().to_string())
            }
            To::User(user) | To::OfUser(user) => (NAMES[user].to_owned(), NOBODY.to_owned()),
            _ => return Ok(()),
        };
        if one.own.contains(&secret) {
            return Ok(());
        }
        let Some(address) = self.owners.address(to) else { return Ok(()) };
        let elsewhere = address.replace(&secret, &other);
        let mut answers = BTreeMap::new();
        for (name, address) in [(&secret, &address), (&other, &elsewhere)] {
            let frame = frame(address);
            if frame["type"] == "topic:subscribe" && !address.starts_with("topic:") || frame["type"] == "topic:unsubscribe" {
                return Ok(());
            }
            let Some(answer) = self.ask(at, frame).await? else { return Ok(()) };
            let text = json!([answer["type"], answer["payload"]]).to_string().replace(name, "it");
            answers.insert(name.clone(), text);
        }
        self.seen.probes += 1;
        prop_assert_eq!(
            &answers[&secret],
            &answers[&other],
            "{:?} learns that {} is there",
            self.slots[at].as_ref().map(|one| one.who),
            secret
        );
        Ok(())
    }
}
