//! Processes killed at random moments under load, again and again.

use std::collections::HashSet;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Chance, DialError, EchoAgent, Ended, Peer, Site, eventually, everyone, question, scaled};

const AGENTS: usize = 4;
/// How long a question may wait for its answer.
const PATIENCE_MS: u32 = 3000;
/// How long a client waits before it tries again.
const AGAIN: Duration = Duration::from_millis(20);
/// The longest time from a recovery to the next kill, and from a kill to the next start.
const LIFE: Duration = Duration::from_millis(300);
const GAP: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug)]
enum Victim {
    Broker,
    Edge,
    Agent,
}

#[tokio::test]
async fn everyone_recovers_from_kills_at_random_moments() {
    let (clients, rounds) = scaled((20, 3), (200, 200));
    let mut chance = Chance::from_environment("kill rounds");
    let site = Site::new();
    let mut broker = site.broker_alone().await;
    let mut edge = site.edge_alone().await;
    let mut agents = join_all((0..AGENTS).map(|number| start_agent(&site, number))).await;

    let running = Arc::new(AtomicBool::new(true));
    let answered: Vec<_> = (0..clients).map(|_| Arc::new(AtomicUsize::default())).collect();
    let everyone_is_answered = async |what: &str| {
        let before: Vec<_> = answered.iter().map(|count| count.load(Relaxed)).collect();
        eventually(what, async || answered.iter().zip(&before).all(|(now, before)| now.load(Relaxed) > before + 1)).await;
    };
    let asking = everyone(answered.iter().map(|answered| {
        let client =
            Client { site: site.clone(), running: Arc::clone(&running), answered: Arc::clone(answered), tally: Tally::default() };
        client.keep_asking()
    }));
    let killing = async {
        everyone_is_answered("all clients are talking").await;
        for round in 0..rounds {
            let victim = match round {
                0 => Victim::Broker,
                1 => Victim::Edge,
                2 => Victim::Agent,
                _ => [Victim::Broker, Victim::Edge, Victim::Agent][chance.below(3)],
            };
            tokio::time::sleep(chance.duration(LIFE)).await;
            let gap = chance.duration(GAP);
            match victim {
                Victim::Broker => {
                    broker.kill();
                    tokio::time::sleep(gap).await;
                    broker = site.broker_alone().await;
                }
                Victim::Edge => {
                    edge.kill();
                    tokio::time::sleep(gap).await;
                    edge = site.edge_alone().await;
                }
                Victim::Agent => {
                    let number = chance.below(AGENTS);
                    drop(agents.remove(number));
                    tokio::time::sleep(gap).await;
                    agents.insert(number, start_agent(&site, number).await);
                }
            }
            everyone_is_answered(&format!("round {round}, {victim:?} killed: everyone is answered again")).await;
        }
        running.store(false, Relaxed);
    };
    let (tallies, ()) = tokio::join!(asking, killing);

    let sum = |pick: fn(&Tally) -> usize| tallies.iter().map(pick).sum::<usize>();
    println!(
        "kill rounds: {rounds} rounds, {clients} clients, {} questions: {} answered, {} refused, {} cut off",
        sum(|tally| tally.asked),
        sum(|tally| tally.answered),
        sum(|tally| tally.refused),
        sum(|tally| tally.asked - tally.answered - tally.refused),
    );
}

async fn start_agent(site: &Site, number: usize) -> EchoAgent {
    EchoAgent::start(site, &format!("worker-{number}")).await
}

#[derive(Default)]
struct Tally {
    asked: usize,
    answered: usize,
    refused: usize,
    done: HashSet<String>,
}

/// The outcome of a question.
enum Outcome {
    Answered,
    /// It was refused, or its outcome is unknown because a connection was lost: ask again.
    Again,
}

/// A client that comes back with its token whenever its connection breaks, and asks one question
/// after the other.
struct Client {
    site: Site,
    running: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tally: Tally,
}

impl Client {
    async fn keep_asking(mut self) -> Tally {
        let credentials = self.site.register().await;
        while self.running.load(Relaxed) {
            let mut session = match self.site.dial_session(&credentials, "").await {
                Ok(session) => session,
                Err(DialError::Broken) => {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                Err(DialError::Refused(status)) => panic!("refused with {status}: the token must stay good"),
            };
            if let Err(ended) = self.talk(&mut session, &credentials.id).await {
                assert_eq!(ended, Ended::Broken, "only a dead edge ends a client's connection");
            }
        }
        self.tally
    }

    /// Talks until the connection or the run ends.
    async fn talk(&mut self, session: &mut Peer, session_id: &str) -> Result<(), Ended> {
        // Behind an edge that has no broker yet, the notices about that come first.
        loop {
            let frame = session.try_next().await?;
            if frame["type"] == "connection:ack" {
                assert_eq!(frame["payload"]["session_id"], session_id);
                break;
            }
            assert_eq!(frame["type"], "system:upstream", "{frame}");
        }
        while self.running.load(Relaxed) {
            let id = self.tally.asked.to_string();
            let target = format!("agent:worker-{}", self.tally.asked % AGENTS);
            self.tally.asked += 1;
            session.try_send(question(&id, &target, json!(id), PATIENCE_MS)).await?;
            match self.outcome(session, &id).await? {
                Outcome::Answered => drop(self.answered.fetch_add(1, Relaxed)),
                Outcome::Again => tokio::time::sleep(AGAIN).await,
            }
        }
        Ok(())
    }

    /// Reads until the question has an outcome. Answers to earlier questions may come late, but no
    /// answer comes twice.
    async fn outcome(&mut self, session: &mut Peer, id: &str) -> Result<Outcome, Ended> {
        loop {
            let frame = session.try_next().await?;
            let about = frame["correlation_id"].as_str().unwrap_or_default().to_owned();
            match frame["type"].as_str() {
                Some("connection:ack") => return Ok(Outcome::Again),
                Some("message:done") => {
                    assert_eq!(frame["payload"], about, "an answer belongs to its question");
                    assert!(self.tally.done.insert(about.clone()), "answered twice: {frame}");
                    self.tally.answered += 1;
                    if about == id {
                        return Ok(Outcome::Answered);
                    }
                }
                Some("system:error") => {
                    assert_eq!(frame["payload"]["temporary"], true, "{frame}");
                    if about == id {
                        self.tally.refused += 1;
                        return Ok(Outcome::Again);
                    }
                }
                _ => {}
            }
        }
    }
}
