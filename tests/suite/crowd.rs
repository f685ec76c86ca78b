//! Many clients and many agents at the same time.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{EchoAgent, Site, everyone, scaled};

#[tokio::test]
async fn every_client_of_a_crowd_gets_every_answer_once_and_in_order() {
    let (clients, agents, rounds) = scaled((500, 20, 1), (4000, 40, 20));
    let questions = 20;
    let site = Site::new();
    let _daemon = site.daemon().await;
    let names: Vec<_> = (0..agents).map(|number| format!("worker-{number}")).collect();
    let agents = join_all(names.iter().map(|name| EchoAgent::start(&site, name))).await;

    everyone((0..clients).map(|client| {
        let (site, agent) = (site.clone(), names[client % names.len()].clone());
        async move {
            let mut session = site.session(&format!("?agent={agent}")).await;
            for round in 0..rounds {
                for number in 0..questions {
                    let payload = json!({"client": client, "round": round, "number": number});
                    session.ask(&format!("{round}-{number}"), &format!("agent:{agent}"), payload, 60_000).await;
                }
                for number in 0..questions {
                    let answer = session.expect("message:done").await;
                    let expected = json!({"client": client, "round": round, "number": number});
                    assert_eq!(answer["payload"], expected, "the answers come in order and to whom they are for");
                    assert_eq!(answer["correlation_id"], format!("{round}-{number}"));
                }
            }
            let after = session.settle().await;
            assert!(after.iter().all(|frame| frame["type"] != "message:done"), "answered twice: {after:?}");
        }
    }))
    .await;

    let answered: usize = agents.iter().map(EchoAgent::answered).sum();
    println!("crowd: {clients} clients, {} agents, {answered} answers", agents.len());
    assert_eq!(answered, clients * rounds * questions);
    assert_eq!(site.stats().await["errors"], json!({}));
}
