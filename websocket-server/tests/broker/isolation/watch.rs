//! A socket on which every frame is searched for what its peer must not know.

use std::collections::BTreeSet;

use futures_util::{SinkExt, StreamExt};
use proptest::{prelude::*, test_runner::TestCaseError};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::{owners::OPEN, steps::Who};
use crate::harness::{LIMIT, Peer};

/// How much of a history was relevant, so that the test is not empty.
#[derive(Debug, Default)]
pub struct Seen {
    /// Messages for the reader alone.
    pub own: usize,
    pub refused: usize,
    pub redelivered: usize,
    pub records: usize,
    pub receipts: usize,
    pub logins: usize,
    pub strangers: usize,
    pub probes: usize,
    pub presence: usize,
}

impl Seen {
    pub fn add(&mut self, other: &Self) {
        let Self { own, refused, redelivered, records, receipts, logins, strangers, probes, presence } = other;
        self.own += own;
        self.refused += refused;
        self.redelivered += redelivered;
        self.records += records;
        self.receipts += receipts;
        self.logins += logins;
        self.strangers += strangers;
        self.probes += probes;
        self.presence += presence;
    }

    /// Checks that there was something to hear. Every history begins with steps that cause one of
    /// each (`steps::histories`), so this does not depend on chance.
    pub fn check_that_much_happened(&self, histories: usize) {
        let Self { own, refused, redelivered: _, records, receipts, logins, strangers, probes, presence } = self;
        for of_each in [own, refused, records, receipts, logins, strangers, probes, presence] {
            assert!(*of_each >= histories, "{histories} histories had too little in them: {self:?}");
        }
    }
}

/// One open socket.
pub struct Watched {
    pub peer: Peer,
    pub who: Who,
    pub socket_id: Option<Uuid>,
    /// The names that it may hear.
    pub own: BTreeSet<String>,
    /// The names that it has used itself: they may come back in answers that say nothing else.
    pub named: BTreeSet<String>,
    /// Whether it is not checked: an agent that reaches everything may hear everything.
    pub is_free: bool,
    pub is_over: bool,
    /// The last message that it got, to be answered.
    pub asked: Option<String>,
    /// The position of the last durable message it got.
    pub position: Option<(String, Value)>,
}

impl Watched {
    /// Sends a frame.
    pub async fn say(&mut self, frame: &Value, secrets: &[String]) {
        let text = frame.to_string();
        self.named.extend(secrets.iter().filter(|secret| text.contains(*secret)).cloned());
        if self.peer.socket.send(Message::text(text)).await.is_err() {
            self.is_over = true;
        }
    }

    /// Reads on to the answer of `id`; `None` if the connection ended before.
    pub async fn answer(&mut self, id: &str, secrets: &[String], seen: &mut Seen) -> Result<Option<Value>, TestCaseError> {
        loop {
            let Some(frame) = self.read(secrets, seen).await? else { return Ok(None) };
            let kind = frame["type"].as_str().unwrap_or_default();
            let is_answer = !matches!(kind, "message:delivered" | "message:acknowledged" | "note:said");
            if is_answer && frame["correlation_id"] == id {
                return Ok(Some(frame));
            }
        }
    }

    /// Reads everything that was sent before now.
    pub async fn settle(&mut self, secrets: &[String], seen: &mut Seen) -> Result<(), TestCaseError> {
        let id = Uuid::new_v4().to_string();
        self.say(&json!({"type":"agent:list","id":id}), secrets).await;
        self.answer(&id, secrets, seen).await.map(drop)
    }

    /// Reads to the end of the connection.
    pub async fn drain(&mut self, secrets: &[String], seen: &mut Seen) -> Result<(), TestCaseError> {
        while self.read(secrets, seen).await?.is_some() {}
        Ok(())
    }

    async fn read(&mut self, secrets: &[String], seen: &mut Seen) -> Result<Option<Value>, TestCaseError> {
        while !self.is_over {
            let next = timeout(LIMIT, self.peer.socket.next()).await;
            let Ok(next) = next else { return Err(TestCaseError::fail(format!("{:?}: nothing in time", self.who))) };
            match next {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
                    self.look_at(&frame, secrets, seen)?;
                    return Ok(Some(frame));
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => self.is_over = true,
                Some(Ok(_)) => {}
            }
        }
        Ok(None)
    }

    fn look_at(&mut self, frame: &Value, secrets: &[String], seen: &mut Seen) -> Result<(), TestCaseError> {
        let kind = frame["type"].as_str().unwrap_or_default();
        if kind == "note:said" {
            self.asked = frame["id"].as_str().map(str::to_owned);
            if let (Some(channel), seq @ Value::Number(_)) = (frame["channel"].as_str(), &frame["seq"]) {
                self.position = Some((channel.to_owned(), json!({"epoch":frame["epoch"],"seq":seq})));
            }
        }
        if self.is_free {
            return Ok(());
        }
        let said = frame["payload"]["whose"].as_str();
        seen.own += usize::from(said.is_some_and(|whose| self.own.contains(whose)));
        seen.redelivered += usize::from(frame["redelivered"].is_number());
        seen.refused += usize::from(kind == "system:error");
        seen.receipts += usize::from(matches!(kind, "message:delivered" | "message:acknowledged"));
        seen.presence += usize::from(kind.starts_with("presence:"));
        seen.records += frame["payload"]["messages"].as_array().map_or(0, Vec::len);

        let mut shown = frame.clone();
        // A sender in the open topic names itself to all who are there.
        let in_public = |message: &mut Value| {
            if message["target"] == OPEN {
                message["source"] = Value::Null;
            }
        };
        in_public(&mut shown);
        if let Some(messages) = shown["payload"]["messages"].as_array_mut() {
            messages.iter_mut().for_each(in_public);
        }
        let text = shown.to_string();
        let is_echo = |secret: &str| ["system:error", "topic:unsubscribed"].contains(&kind) && self.named.contains(secret);
        for secret in secrets.iter().filter(|secret| !self.own.contains(*secret) && text.contains(*secret)) {
            prop_assert!(is_echo(secret), "{:?} hears of {}: {}", self.who, secret, frame);
        }
        if let (Some(count), Some(members)) = (frame["payload"]["member_count"].as_u64(), frame["payload"]["members"].as_array())
        {
            prop_assert_eq!(count, members.len() as u64, "{:?} learns how many others there are: {}", self.who, frame);
        }
        if let (Some(total), Some(sessions)) = (frame["payload"]["total"].as_u64(), frame["payload"]["sessions"].as_array()) {
            prop_assert_eq!(total, sessions.len() as u64, "{:?} learns how many others there are: {}", self.who, frame);
        }
        Ok(())
    }
}
