//! The questions in progress, as a state machine: messages and moments in, messages out.
//!
//! It knows no socket and no runtime. Its caller passes messages and the time, and asks when it
//! must be woken. It answers at most `max_concurrency` questions at once; the next one gets `busy`.

use std::time::Duration;

use gateway::doors::{Incoming, Outgoing};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::answers::{AnswerStep, Failure, Steps, answer};

/// All questions in progress on one connection.
pub struct Desk {
    max_concurrency: usize,
    token_pace: Duration,
    running: Vec<Running>,
}

struct Running {
    question: Incoming,
    steps: Steps,
    said: String,
    index: u64,
    due: Instant,
}

impl Desk {
    /// A desk without questions.
    pub fn new(max_concurrency: usize, token_pace: Duration) -> Self {
        Self { max_concurrency, token_pace, running: Vec::new() }
    }

    /// When [`Desk::on_due`] must be called next; `None`: nothing is being answered.
    pub fn next_due(&self) -> Option<Instant> {
        self.running.iter().map(|running| running.due).min()
    }

    /// A message arrived.
    pub fn on_message(&mut self, message: Incoming, now: Instant) -> Vec<Outgoing> {
        let before = self.running.len();
        let mut out = match message.kind.as_str() {
            "message:send" => self.on_question(message, now),
            "message:cancel" => self.on_cancel(&message),
            "session:disconnected" => self.on_session_gone(&payload_of(&message)),
            "system:error" => self.on_refused(&payload_of(&message)),
            _ => Vec::new(),
        };
        out.extend(self.status_change(before));
        out
    }

    /// Time has passed: every answer that is due sends its next step.
    pub fn on_due(&mut self, now: Instant) -> Vec<Outgoing> {
        let before = self.running.len();
        let mut out = Vec::new();
        let pace = self.token_pace;
        self.running.retain_mut(|running| {
            if running.due > now {
                return true;
            }
            running.due = now + pace;
            let (frame, goes_on) = running.step();
            out.push(frame);
            goes_on
        });
        out.extend(self.status_change(before));
        out
    }

    fn on_question(&mut self, question: Incoming, now: Instant) -> Vec<Outgoing> {
        if question.source.is_none() || question.id.is_none() {
            return Vec::new();
        }
        let refuse = |failure: Failure| vec![Outgoing::answer("message:error", &question).payload(failure_payload(&failure))];
        let payload = payload_of(&question);
        let Some(text) = text_of(&payload) else {
            return refuse(Failure::new("invalid_payload", "send {\"text\": \"…\"}, or a string"));
        };
        if self.running.len() >= self.max_concurrency {
            let message = format!("{} questions are being answered already: try again in a moment", self.running.len());
            return refuse(Failure::new("busy", message));
        }
        let steps = answer(text, OffsetDateTime::now_utc());
        let mut running = Running { question, steps, said: String::new(), index: 0, due: now + self.token_pace };
        let (first, goes_on) = running.step();
        if goes_on {
            self.running.push(running);
        }
        vec![first]
    }

    /// Only the asker may cancel.
    fn on_cancel(&mut self, cancel: &Incoming) -> Vec<Outgoing> {
        let is_meant = |Running { question, .. }: &mut Running| {
            cancel.correlation_id.is_some() && question.id == cancel.correlation_id && question.source == cancel.source
        };
        let cancelled = self.running.extract_if(.., is_meant);
        cancelled.map(|running| running.reply("message:done", json!({"text": running.said, "cancelled": true}))).collect()
    }

    fn on_session_gone(&mut self, payload: &Value) -> Vec<Outgoing> {
        if let Some(session) = payload.get("session_id").and_then(Value::as_str) {
            self.forget(&format!("session:{session}"));
        }
        Vec::new()
    }

    /// The bridge could not deliver: the asker is no longer reachable.
    fn on_refused(&mut self, payload: &Value) -> Vec<Outgoing> {
        let code = payload.get("code").and_then(Value::as_str).unwrap_or_default();
        if let (true, Some(target)) = (code.ends_with("_not_found"), payload.get("target").and_then(Value::as_str)) {
            self.forget(target);
        }
        Vec::new()
    }

    fn forget(&mut self, asker: &str) {
        self.running.retain(|running| running.question.source.as_deref() != Some(asker));
    }

    /// `busy` with the first question, `idle` after the last.
    fn status_change(&self, before: usize) -> Option<Outgoing> {
        let status = match (before, self.running.len()) {
            (0, 1..) => "busy",
            (1.., 0) => "idle",
            _ => return None,
        };
        Some(Outgoing::new("agent:status").payload(json!({"status": status})))
    }
}

impl Running {
    /// The next frame, and whether the answer continues after it.
    fn step(&mut self) -> (Outgoing, bool) {
        match self.steps.next() {
            Some(AnswerStep::Delta(text)) => {
                self.said.push_str(&text);
                let payload = json!({"text": text, "index": self.index});
                self.index += 1;
                (self.reply("message:delta", payload), true)
            }
            Some(AnswerStep::Failed(failure)) => (self.reply("message:error", failure_payload(&failure)), false),
            Some(AnswerStep::Done(Some(text))) => (self.reply("message:done", json!({"text": text})), false),
            Some(AnswerStep::Done(None)) | None => (self.reply("message:done", json!({"text": self.said})), false),
        }
    }

    fn reply(&self, kind: &'static str, payload: Value) -> Outgoing {
        Outgoing::answer(kind, &self.question).payload(payload)
    }
}

/// The payload as JSON; `null` if it is not JSON.
fn payload_of(message: &Incoming) -> Value {
    message.payload().unwrap_or_default()
}

/// The text of a question: the payload's `text`, or the payload itself if it is a string.
fn text_of(payload: &Value) -> Option<&str> {
    payload.as_str().or_else(|| payload.get("text")?.as_str())
}

fn failure_payload(failure: &Failure) -> Value {
    json!({"code": failure.code, "message": failure.message})
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Duration = Duration::from_millis(30);
    const ASKER: &str = "session:3f0f5b1e-0000-4000-8000-000000000000";

    fn message(frame: Value) -> Incoming {
        Incoming::parse(frame.to_string()).unwrap()
    }

    fn send(id: &str, text: &str) -> Incoming {
        message(json!({"type": "message:send", "id": id, "source": ASKER, "payload": {"text": text}}))
    }

    fn kinds(messages: &[Outgoing]) -> Vec<&str> {
        messages.iter().map(Outgoing::kind).collect()
    }

    /// The payload of each.
    fn payloads(messages: &[Outgoing]) -> Vec<Value> {
        messages.iter().map(|message| serde_json::to_value(message).unwrap()["payload"].take()).collect()
    }

    #[test]
    fn answer_goes_to_the_asker_with_the_question_as_correlation() {
        let mut desk = Desk::new(2, PACE);
        let out = desk.on_message(send("q1", "echo hello"), Instant::now());
        assert_eq!(kinds(&out), ["message:done"]);
        assert_eq!((out[0].target(), out[0].answers()), (Some(ASKER), Some("q1")));
        assert_eq!(payloads(&out), [json!({"text": "hello"})]);
        assert_eq!(desk.next_due(), None);
    }

    #[test]
    fn stream_has_rising_indexes_its_pace_and_a_whole_text_at_the_end() {
        let mut desk = Desk::new(2, PACE);
        let start = Instant::now();
        let mut out = desk.on_message(send("q1", "count 3"), start);
        assert_eq!(kinds(&out), ["message:delta", "agent:status"]);
        assert!(desk.on_due(start).is_empty(), "nothing is due before the pace has passed");
        let mut now = start;
        while let Some(due) = desk.next_due() {
            assert_eq!(due, now + PACE);
            now = due;
            out.extend(desk.on_due(now));
        }
        assert_eq!(
            kinds(&out),
            ["message:delta", "agent:status", "message:delta", "message:delta", "message:done", "agent:status"]
        );
        let said = payloads(&out);
        assert_eq!((&said[3], &said[4]), (&json!({"text": " 3", "index": 2}), &json!({"text": "1 2 3"})));
        assert_eq!((&said[1]["status"], &said[5]["status"]), (&json!("busy"), &json!("idle")));
    }

    #[test]
    fn questions_are_served_together_and_one_beyond_the_limit_gets_busy() {
        let mut desk = Desk::new(2, PACE);
        let now = Instant::now();
        desk.on_message(send("q1", "count 5"), now);
        desk.on_message(send("q2", "count 5"), now);
        let refused = desk.on_message(send("q3", "count 5"), now);
        assert_eq!(kinds(&refused), ["message:error"]);
        assert_eq!(payloads(&refused)[0]["code"], "busy");
        let together = desk.on_due(now + PACE);
        let questions: Vec<_> = together.iter().map(Outgoing::answers).collect();
        assert_eq!(questions, [Some("q1"), Some("q2")]);
    }

    #[test]
    fn cancel_stops_the_stream_of_its_sender_only() {
        let mut desk = Desk::new(4, PACE);
        desk.on_message(send("q1", "count 5"), Instant::now());
        let cancel = |source: &str| message(json!({"type": "message:cancel", "source": source, "correlation_id": "q1"}));
        assert!(desk.on_message(cancel("session:other"), Instant::now()).is_empty());
        let out = desk.on_message(cancel(ASKER), Instant::now());
        assert_eq!(kinds(&out), ["message:done", "agent:status"]);
        assert_eq!(payloads(&out)[0], json!({"text": "1", "cancelled": true}));
        assert_eq!(desk.next_due(), None);
    }

    #[test]
    fn nothing_is_sent_to_a_peer_that_has_left() {
        let session = ASKER.strip_prefix("session:").unwrap();
        let gone = json!({"type": "session:disconnected", "payload": {"session_id": session}});
        let refused = json!({"type": "system:error", "payload": {"code": "session_not_found", "target": ASKER}});
        for frame in [gone, refused] {
            let mut desk = Desk::new(4, PACE);
            desk.on_message(send("q1", "count 5"), Instant::now());
            assert_eq!(kinds(&desk.on_message(message(frame), Instant::now())), ["agent:status"]);
            assert_eq!(desk.next_due(), None);
        }
    }

    #[test]
    fn messages_that_are_no_questions_are_ignored_or_refused() {
        let mut desk = Desk::new(4, PACE);
        for payload in ["null", "5", "[]", r#"{"text":5}"#, "{}"] {
            let payload: Value = serde_json::from_str(payload).unwrap();
            let bad = message(json!({"type": "message:send", "id": "q1", "source": ASKER, "payload": payload}));
            assert_eq!(payloads(&desk.on_message(bad, Instant::now()))[0]["code"], "invalid_payload", "{payload}");
        }
        for kind in ["message:done", "message:delta", "agent:connected", "connection:ack", "something:else"] {
            let other = json!({"type": kind, "id": "q1", "source": ASKER, "payload": {"text": "count 5"}});
            assert!(desk.on_message(message(other), Instant::now()).is_empty(), "{kind}");
        }
        let nobodys = json!({"type": "message:send", "id": "q1", "payload": "hi"});
        assert!(desk.on_message(message(nobodys), Instant::now()).is_empty());
        let bare = json!({"type": "message:send", "id": "q1", "source": ASKER, "payload": "echo b"});
        assert_eq!(payloads(&desk.on_message(message(bare), Instant::now())), [json!({"text": "b"})]);
    }
}
