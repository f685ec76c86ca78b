//! The questions being answered, as a state machine: frames and moments in, frames out.
//!
//! Knows no socket and no runtime; the connection tells it what arrived and what time it is, and asks when it wants to be woken.
//! Never answers more than `max_concurrency` questions at once; the next hears `busy`.

use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::answers::{Failure, Step, Steps, answer};
use super::frames::{Incoming, Outgoing};

/// Everything that is being answered on one connection.
pub struct Desk {
    max_concurrency: usize,
    token_pace: Duration,
    running: Vec<Running>,
}

struct Running {
    question: String,
    asker: String,
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

    /// When [`Desk::on_due`] should be called next; `None`: nothing is being answered.
    pub fn next_due(&self) -> Option<Instant> {
        self.running.iter().map(|running| running.due).min()
    }

    /// A frame arrived.
    pub fn on_frame(&mut self, frame: &Incoming, now: Instant) -> Vec<Outgoing> {
        let before = self.running.len();
        let mut out = match frame.kind.as_str() {
            "message:send" => self.on_question(frame, now),
            "message:cancel" => self.on_cancel(frame),
            "session:disconnected" => self.on_session_gone(&frame.payload),
            "system:error" => self.on_refused(&frame.payload),
            _ => Vec::new(),
        };
        out.extend(self.status_change(before));
        out
    }

    /// Time passed: every answer that is due says its next step.
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

    fn on_question(&mut self, frame: &Incoming, now: Instant) -> Vec<Outgoing> {
        let (Some(asker), Some(question)) = (&frame.source, &frame.id) else { return Vec::new() };
        let refuse = |failure: Failure| vec![Outgoing::reply("message:error", asker, question, failure_payload(&failure))];
        let Some(text) = frame.text() else {
            return refuse(Failure::new("invalid_payload", "send {\"text\": \"…\"}, or a string"));
        };
        if self.running.len() >= self.max_concurrency {
            let message = format!("{} questions are being answered already: try again in a moment", self.running.len());
            return refuse(Failure::new("busy", message));
        }
        let steps = answer(text, OffsetDateTime::now_utc());
        let mut running = Running {
            question: question.clone(),
            asker: asker.clone(),
            steps,
            said: String::new(),
            index: 0,
            due: now + self.token_pace,
        };
        let (first, goes_on) = running.step();
        if goes_on {
            self.running.push(running);
        }
        vec![first]
    }

    /// Only who asked may cancel.
    fn on_cancel(&mut self, frame: &Incoming) -> Vec<Outgoing> {
        let (Some(asker), Some(question)) = (&frame.source, &frame.correlation_id) else { return Vec::new() };
        let cancelled = self.running.extract_if(.., |running| running.asker == *asker && running.question == *question);
        cancelled
            .map(|running| {
                let payload = json!({"text": running.said, "cancelled": true});
                Outgoing::reply("message:done", &running.asker, &running.question, payload)
            })
            .collect()
    }

    fn on_session_gone(&mut self, payload: &Value) -> Vec<Outgoing> {
        if let Some(session) = payload.get("session_id").and_then(Value::as_str) {
            self.forget(&format!("session:{session}"));
        }
        Vec::new()
    }

    /// The bridge could not deliver: there is nobody to go on talking to.
    fn on_refused(&mut self, payload: &Value) -> Vec<Outgoing> {
        let code = payload.get("code").and_then(Value::as_str).unwrap_or_default();
        if let (true, Some(target)) = (code.ends_with("_not_found"), payload.get("target").and_then(Value::as_str)) {
            self.forget(target);
        }
        Vec::new()
    }

    fn forget(&mut self, asker: &str) {
        self.running.retain(|running| running.asker != asker);
    }

    /// `busy` with the first question, `idle` after the last.
    fn status_change(&self, before: usize) -> Option<Outgoing> {
        let status = match (before, self.running.len()) {
            (0, 1..) => "busy",
            (1.., 0) => "idle",
            _ => return None,
        };
        Some(Outgoing::to_bridge("agent:status", json!({"status": status})))
    }
}

impl Running {
    /// The next frame, and whether the answer goes on after it.
    fn step(&mut self) -> (Outgoing, bool) {
        match self.steps.next() {
            Some(Step::Delta(text)) => {
                self.said.push_str(&text);
                let payload = json!({"text": text, "index": self.index});
                self.index += 1;
                (self.reply("message:delta", payload), true)
            }
            Some(Step::Failed(failure)) => (self.reply("message:error", failure_payload(&failure)), false),
            Some(Step::Done(Some(text))) => (self.reply("message:done", json!({"text": text})), false),
            Some(Step::Done(None)) | None => (self.reply("message:done", json!({"text": self.said})), false),
        }
    }

    fn reply(&self, kind: &'static str, payload: Value) -> Outgoing {
        Outgoing::reply(kind, &self.asker, &self.question, payload)
    }
}

fn failure_payload(failure: &Failure) -> Value {
    json!({"code": failure.code, "message": failure.message})
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Duration = Duration::from_millis(30);
    const ASKER: &str = "session:3f0f5b1e-0000-4000-8000-000000000000";

    fn send(id: &str, text: &str) -> Incoming {
        Incoming {
            kind: "message:send".into(),
            id: Some(id.into()),
            source: Some(ASKER.into()),
            payload: json!({"text": text}),
            ..Incoming::default()
        }
    }

    fn kinds(frames: &[Outgoing]) -> Vec<&'static str> {
        frames.iter().map(|frame| frame.kind).collect()
    }

    #[test]
    fn answer_goes_to_the_asker_with_the_question_as_correlation() {
        let mut desk = Desk::new(2, PACE);
        let out = desk.on_frame(&send("q1", "echo hello"), Instant::now());
        assert_eq!(kinds(&out), ["message:done"]);
        assert_eq!((out[0].target.as_deref(), out[0].correlation_id.as_deref()), (Some(ASKER), Some("q1")));
        assert_eq!(out[0].payload, json!({"text": "hello"}));
        assert_eq!(desk.next_due(), None);
    }

    #[test]
    fn stream_has_rising_indexes_its_pace_and_a_whole_text_at_the_end() {
        let mut desk = Desk::new(2, PACE);
        let start = Instant::now();
        let mut out = desk.on_frame(&send("q1", "count 3"), start);
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
        assert_eq!(out[3].payload, json!({"text": " 3", "index": 2}));
        assert_eq!(out[4].payload, json!({"text": "1 2 3"}));
        assert_eq!((&out[1].payload["status"], &out[5].payload["status"]), (&json!("busy"), &json!("idle")));
    }

    #[test]
    fn questions_are_served_together_and_the_one_too_many_hears_busy() {
        let mut desk = Desk::new(2, PACE);
        let now = Instant::now();
        desk.on_frame(&send("q1", "count 5"), now);
        desk.on_frame(&send("q2", "count 5"), now);
        let refused = desk.on_frame(&send("q3", "count 5"), now);
        assert_eq!(kinds(&refused), ["message:error"]);
        assert_eq!(refused[0].payload["code"], "busy");
        let together = desk.on_due(now + PACE);
        let questions: Vec<_> = together.iter().map(|frame| frame.correlation_id.as_deref()).collect();
        assert_eq!(questions, [Some("q1"), Some("q2")]);
    }

    #[test]
    fn cancel_stops_the_stream_of_who_asked_and_of_nobody_else() {
        let mut desk = Desk::new(4, PACE);
        desk.on_frame(&send("q1", "count 5"), Instant::now());
        let cancel = |source: &str| Incoming {
            kind: "message:cancel".into(),
            source: Some(source.into()),
            correlation_id: Some("q1".into()),
            ..Incoming::default()
        };
        assert!(desk.on_frame(&cancel("session:other"), Instant::now()).is_empty());
        let out = desk.on_frame(&cancel(ASKER), Instant::now());
        assert_eq!(kinds(&out), ["message:done", "agent:status"]);
        assert_eq!(out[0].payload, json!({"text": "1", "cancelled": true}));
        assert_eq!(desk.next_due(), None);
    }

    #[test]
    fn nobody_is_talked_to_after_leaving() {
        let session = ASKER.strip_prefix("session:").unwrap();
        let gone =
            Incoming { kind: "session:disconnected".into(), payload: json!({"session_id": session}), ..Incoming::default() };
        let payload = json!({"code": "session_not_found", "target": ASKER});
        let refused = Incoming { kind: "system:error".into(), payload, ..Incoming::default() };
        for frame in [gone, refused] {
            let mut desk = Desk::new(4, PACE);
            desk.on_frame(&send("q1", "count 5"), Instant::now());
            assert_eq!(kinds(&desk.on_frame(&frame, Instant::now())), ["agent:status"]);
            assert_eq!(desk.next_due(), None);
        }
    }

    #[test]
    fn what_is_no_question_is_left_alone_or_refused() {
        let mut desk = Desk::new(4, PACE);
        let mut bad = send("q1", "");
        bad.payload = json!({"other": 1});
        assert_eq!(desk.on_frame(&bad, Instant::now())[0].payload["code"], "invalid_payload");
        for kind in ["message:done", "message:delta", "agent:connected", "connection:ack", "something:else"] {
            let frame = Incoming { kind: kind.into(), ..send("q1", "count 5") };
            assert!(desk.on_frame(&frame, Instant::now()).is_empty(), "{kind}");
        }
        assert!(desk.on_frame(&Incoming { source: None, ..send("q1", "hi") }, Instant::now()).is_empty());
    }
}
