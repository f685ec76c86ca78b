//! Agents that answer every `message:send` with its payload.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};
use std::time::Duration;

use serde_json::json;

use super::{AGENT_KEY, Ended, Peer, Site};

/// How long it waits before it dials again.
const REDIAL: Duration = Duration::from_millis(20);

/// An echo agent that comes back whenever its connection breaks. Dropping it ends it.
pub struct EchoAgent {
    task: tokio::task::JoinHandle<()>,
    answered: Arc<AtomicUsize>,
}

impl EchoAgent {
    /// Starts one and waits until it is registered.
    pub async fn start(site: &Site, agent_id: &str) -> Self {
        let mut peer = site.agent(agent_id).await;
        let answered = Arc::new(AtomicUsize::default());
        let (count, broker, path) = (Arc::clone(&answered), site.broker, format!("/ws/agent?agent_id={agent_id}"));
        let task = tokio::spawn(async move {
            loop {
                answer_all(&mut peer, &count).await;
                peer = loop {
                    tokio::time::sleep(REDIAL).await;
                    if let Ok(peer) = Peer::dial(broker, &path, AGENT_KEY).await {
                        break peer;
                    }
                };
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

/// Answers until the connection ends.
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
