//! Many connections that want to be the same agent.

use std::collections::{BTreeMap, HashMap};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Ended, Peer, Site, answer_all, eventually, everyone, scaled};

/// How long a question may wait. A question to a connection that then lost the race is not
/// answered.
const PATIENCE_MS: u32 = 3000;
/// The time between two questions of a client.
const PACE: Duration = Duration::from_millis(2);
/// Open questions of a client: more than are lost in a race.
const MOST_OPEN: usize = 500;

#[tokio::test]
async fn of_many_agents_with_one_id_one_stays_and_every_request_has_an_outcome() {
    let (waves, contenders) = scaled((4, 50), (20, 200));
    let site = Site::new();
    let _daemon = site.daemon().await;
    let answered = Arc::new(AtomicUsize::default());
    let closed = Arc::new(AtomicUsize::default());
    let contend = |mut peer: Peer| {
        let (answered, closed) = (Arc::clone(&answered), Arc::clone(&closed));
        tokio::spawn(async move {
            let ended = answer_all(&mut peer, &answered).await;
            closed.fetch_add(1, Relaxed);
            ended
        })
    };

    let first = contend(site.agent("worker").await);
    let racing = Arc::new(AtomicBool::new(true));
    let clients = everyone((0..8).map(|_| ask_while(site.clone(), Arc::clone(&racing))));
    let race = async {
        eventually("the clients are talking", async || answered.load(Relaxed) > 100).await;
        let mut tasks = Vec::new();
        for wave in 1..=waves {
            let peers = join_all((0..contenders).map(|_| contender(&site))).await;
            tasks.extend(peers.into_iter().map(contend));
            eventually("all but one are closed", async || closed.load(Relaxed) >= wave * contenders).await;
            let before = answered.load(Relaxed);
            eventually("the one that stays answers", async || answered.load(Relaxed) > before + 100).await;
        }
        racing.store(false, Relaxed);
        tasks
    };
    let (outcomes, tasks) = tokio::join!(clients, race);

    let stats = site.stats().await;
    assert_eq!(stats["agents"]["connected"], 1);
    assert_eq!(stats["connections"]["agents"]["by_state"]["active"], 1);
    let all: Vec<_> = tasks.into_iter().chain([first]).collect();
    let (over, staying): (Vec<_>, Vec<_>) = all.into_iter().partition(tokio::task::JoinHandle::is_finished);
    assert_eq!((over.len(), staying.len()), (waves * contenders, 1));
    for task in over {
        assert_eq!(task.await.expect("no panic"), Ended::Code(4009));
    }
    let asked: usize = outcomes.iter().map(|(asked, _)| asked).sum();
    let mut refused = BTreeMap::<_, usize>::new();
    for code in outcomes.into_iter().flat_map(|(_, codes)| codes) {
        *refused.entry(code).or_default() += 1;
    }
    println!("takeover: {} contenders, {asked} questions, not answered: {refused:?}", waves * contenders);
}

async fn contender(site: &Site) -> Peer {
    let mut peer = site.dial_agent("worker").await.expect("upgraded");
    let ack = peer.next().await;
    assert_eq!((&ack["type"], &ack["payload"]["agent_id"]), (&json!("connection:ack"), &json!("worker")));
    peer
}

/// Asks while the race goes on. Returns how many questions there were, and the code of each that
/// was not answered.
async fn ask_while(site: Site, racing: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let mut session = site.session("").await;
    let (mut asked, mut refused, mut open) = (0_usize, Vec::new(), HashMap::new());
    let mut pace = tokio::time::interval(PACE);
    while racing.load(Relaxed) || !open.is_empty() {
        tokio::select! {
            _ = pace.tick(), if racing.load(Relaxed) && open.len() < MOST_OPEN => {
                session.ask(&asked.to_string(), "agent:worker", json!(asked), PATIENCE_MS).await;
                open.insert(asked.to_string(), asked);
                asked += 1;
            }
            frame = session.next() => {
                assert_ne!(frame["type"], "agent:disconnected", "a takeover is no leaving: {frame}");
                match (frame["type"].as_str(), frame["correlation_id"].as_str().and_then(|id| open.remove(id))) {
                    (Some("message:done"), Some(number)) => assert_eq!(frame["payload"], number),
                    (_, Some(_)) => refused.push(code_of(&frame)),
                    (Some("message:done" | "system:error"), None) => panic!("a second outcome: {frame}"),
                    _ => {}
                }
            }
        }
    }
    (asked, refused)
}

/// The code with which the bridge says that a question will not be answered.
fn code_of(frame: &Value) -> String {
    let code = frame["payload"]["code"].as_str().unwrap_or_default();
    assert!(frame["type"] == "system:error" && frame["source"] == "bridge", "{frame}");
    assert!(["peer_gone", "reply_timeout"].contains(&code), "{frame}");
    code.to_owned()
}
