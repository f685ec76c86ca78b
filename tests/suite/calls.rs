//! Messages and requests over HTTP through real processes: an edge beside its broker, and apart.

use common::envelope::Delivery;
use gateway::doors::Outgoing;
use serde_json::json;

use crate::harness::{AGENT_KEY, EventStream, Site, eventually, in_time, post, post_with, quick, request};

/// An agent that answers each question with the number of questions that it has had.
fn counter(site: &Site) -> tokio::task::JoinHandle<()> {
    let (agent, mut questions) = site.agent_door("counter", quick());
    tokio::spawn(async move {
        let mut count = 0;
        while let Some(question) = questions.recv().await {
            if question.kind == "message:send" {
                count += 1;
                let answer = Outgoing::answer("message:done", &question).delivery(Delivery::Durable).payload(json!(count));
                in_time("stored", agent.publish(answer)).await.expect("stored");
            }
        }
    })
}

async fn call(site: &Site) {
    let agent = counter(site);
    site.wait_for_agent("counter").await;
    let caller = site.register().await;
    let token = Some(caller.token.as_str());
    let question = json!({"target":"agent:counter","payload":"?","wait_ms":10_000});
    for count in 1..3 {
        let answer = post(site.edge, "/api/v1/request", token, &question).await.expect("an answer");
        assert_eq!((answer.status, &answer.json["payload"]), (200, &json!(count)), "{}", answer.json);
        assert_eq!(answer.json["target"], format!("session:{}", caller.id));
    }
    let nobody = json!({"target":"agent:nobody","wait_ms":10_000});
    let refused = post(site.edge, "/api/v1/request", token, &nobody).await.expect("an answer");
    assert_eq!((refused.status, &refused.json["error"]["code"]), (404, &json!("agent_not_found")));

    let mut news = EventStream::open(site.broker, "/api/v1/channels/topic:news/events?agent_id=reader", AGENT_KEY, "")
        .await
        .expect("opened");
    let message = json!({"id":"n1","type":"news:new","target":"topic:news","delivery":"durable","payload":"hello"});
    for duplicate in [false, true] {
        let sent = post(site.edge, "/api/v1/messages", token, &message).await.expect("an answer");
        assert_eq!((sent.status, &sent.json["duplicate"]), (200, &json!(duplicate)), "{}", sent.json);
    }
    assert_eq!(news.message().await.data["payload"], "hello");
    let live = json!({"type":"news:new","target":"topic:news","payload":"live"});
    let sent = post(site.broker, "/api/v1/messages?agent_id=cron", Some(AGENT_KEY), &live).await.expect("an answer");
    assert_eq!(sent.json["delivery"], "ephemeral", "{}", sent.json);
    let live = news.message().await;
    assert_eq!((&live.data["source"], &live.data["payload"]), (&json!("agent:cron"), &json!("live")));
    drop(news);

    eventually("nothing is left behind", async || {
        let stats = site.stats().await;
        let edge = request(site.edge, "GET", "/stats", None).await.expect("an answer").json;
        stats["sessions"]["connected"] == 0 && edge["browsers"]["sockets"] == 0
    })
    .await;
    // Its socket finds nothing that the caller has had.
    let mut socket = site.dial_session(&caller, "").await.expect("upgraded");
    socket.expect_ack(&caller.id).await;
    socket.settle().await;
    agent.abort();
}

#[tokio::test]
async fn a_caller_without_a_socket_sends_asks_and_reads_through_an_edge_beside_its_broker() {
    let site = Site::new();
    let _daemon = site.daemon().await;
    call(&site).await;
}

#[tokio::test]
async fn a_caller_without_a_socket_sends_asks_and_reads_through_an_edge_of_its_own() {
    let site = Site::new();
    let _broker = site.broker_alone().await;
    let _edge = site.edge_alone().await;
    call(&site).await;
}

#[tokio::test]
async fn a_caller_that_asks_again_after_a_time_out_gets_the_answer_that_came_meanwhile() {
    let site = Site::new();
    let _daemon = site.daemon().await;
    let mut agent = site.agent("slow").await;
    let caller = site.register().await;
    let ask = async |wait_ms: u32| {
        let question = json!({"target":"agent:slow","payload":"?","wait_ms":wait_ms});
        post_with(site.edge, "/api/v1/request", Some(&caller.token), "Idempotency-Key: q1\r\n", &question)
            .await
            .expect("an answer")
    };
    assert_eq!(ask(50).await.json["error"]["code"], "reply_timeout");
    let question = agent.expect("message:send").await;
    agent
        .send(json!({"type":"message:done","id":"a","target":question["source"],"correlation_id":question["id"],
            "delivery":"durable","payload":"late"}))
        .await;
    agent.expect("message:accepted").await;
    let answer = ask(10_000).await;
    assert_eq!((answer.status, &answer.json["payload"]), (200, &json!("late")), "{}", answer.json);
}
