//! Agents that answer every `message:send` with its payload.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use gateway::doors::{Incoming, Outgoing};
use serde_json::{Value, json};

use super::{Ended, Peer, Site, in_time, quick};

/// An echo agent that comes back whenever its connection breaks. Dropping it ends it.
pub struct EchoAgent {
    task: tokio::task::JoinHandle<()>,
    answered: Arc<AtomicUsize>,
}

impl EchoAgent {
    /// Starts one and waits until it is registered.
    pub async fn start(site: &Site, agent_id: &str) -> Self {
        let (door, mut inbox) = site.agent_door(agent_id, quick());
        in_time("the agent is registered", door.ask("agent:list", Value::Null)).await.expect("answered");
        let answered = Arc::new(AtomicUsize::default());
        let count = Arc::clone(&answered);
        let task = tokio::spawn(async move {
            while let Some(question) = inbox.recv().await {
                if question.kind == "message:send" && door.send(echo(&question)).await.is_ok() {
                    count.fetch_add(1, Relaxed);
                }
            }
        });
        Self { task, answered }
    }

    /// Questions it has answered.
    pub fn answered(&self) -> usize {
        self.answered.load(Relaxed)
    }
}

impl Drop for EchoAgent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn echo(question: &Incoming) -> Outgoing {
    Outgoing::answer("message:done", question).payload(question.payload::<Value>().expect("JSON"))
}

/// Answers on a bare socket until the connection ends.
pub async fn answer_all(peer: &mut Peer, count: &AtomicUsize) -> Ended {
    loop {
        let frame = match peer.receive().await {
            Ok(frame) if frame["type"] == "message:send" => frame,
            Ok(_) => continue,
            Err(ended) => return ended,
        };
        let answer = json!({
            "type": "message:done",
            "target": frame["source"],
            "correlation_id": frame["id"],
            "payload": frame["payload"],
        });
        // The end is found by the next read, which knows the code.
        if peer.try_send(answer).await.is_ok() {
            count.fetch_add(1, Relaxed);
        }
    }
}
