//! Frames between a browser and the broker.

use common::{assertion, id::SessionId};
use tokio_tungstenite::tungstenite::{
    Bytes, Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::{
    broker::{Broker, BrokerLink},
    browser::Browser,
    harness::{Edge, eventually},
};

pub async fn pair() -> (Broker, Edge, Browser, BrokerLink) {
    let mut broker = Broker::start().await;
    let edge = Edge::with(|settings| settings.web.broker_url = Some(broker.url()));
    let browser = edge.browser().await;
    let link = broker.link().await;
    (broker, edge, browser, link)
}

fn fragment(opcode: Data, text: &str, is_final: bool) -> Message {
    Message::Frame(Frame::message(Bytes::copy_from_slice(text.as_bytes()), OpCode::Data(opcode), is_final))
}

fn big(letter: &str) -> String {
    letter.repeat(1024 * 1024)
}

#[actix_web::test]
async fn the_broker_is_told_who_the_browser_is() {
    let mut broker = Broker::start().await;
    let edge = Edge::with(|settings| settings.web.broker_url = Some(broker.url()));
    let (session, token) = edge.session().await;
    let browser = edge.open(&format!("/ws/{session}?agent=team/a%2Bb"), session, token).await;
    let link = broker.link().await;
    assert_eq!(link.path, format!("/ws/client/{}?agent=team%2Fa%2Bb", browser.session));
    let bearer = link.authorization.strip_prefix("Bearer ").expect("a bearer assertion");
    let identity = assertion::verify(bearer, &edge.settings.broker.bridge_secret).expect("valid");
    assert_eq!(identity.session_id, browser.session.parse::<SessionId>().expect("an id"));
    assert_eq!(identity.agent.map(|agent| agent.to_string()).as_deref(), Some("team/a+b"));
    assert_eq!(identity.ip.as_deref(), Some("127.0.0.1"));
    assert_eq!(identity.user_agent.as_deref(), Some("test browser"));
    assert_eq!(identity.login, None);
}

#[actix_web::test]
async fn frames_pass_both_ways_in_order() {
    let (_broker, _edge, mut browser, mut link) = pair().await;
    for number in 0..2000 {
        browser.say(&format!("up {number}")).await;
        link.say(&format!("down {number}")).await;
    }
    for number in 0..2000 {
        assert_eq!(link.text().await, format!("up {number}"));
        assert_eq!(browser.text().await, format!("down {number}"));
    }
}

#[actix_web::test]
async fn whole_megabytes_pass_both_ways() {
    let (_broker, _edge, mut browser, mut link) = pair().await;
    for letter in ["a", "b", "c"] {
        let (up, down) = (big(letter), format!("{}{}", big(letter), "and what the broker adds"));
        tokio::join!(browser.say(&up), async { assert!(link.text().await == up) });
        tokio::join!(link.say(&down), async { assert!(browser.text().await == down) });
    }
}

#[actix_web::test]
async fn fragments_and_bytes_that_are_no_json_pass_as_they_are() {
    let (_broker, _edge, mut browser, mut link) = pair().await;
    for (opcode, text, is_final) in [(Data::Text, "one ", false), (Data::Continue, "mess", false), (Data::Continue, "age", true)]
    {
        browser.send(fragment(opcode, text, is_final)).await;
        link.send(fragment(opcode, text, is_final)).await;
    }
    assert_eq!(link.text().await, "one message");
    assert_eq!(browser.text().await, "one message");
    browser.send(Message::binary(vec![0, 255, 1])).await;
    assert_eq!(link.next().await, Message::binary(vec![0, 255, 1]));
    browser.say("").await;
    assert_eq!(link.text().await, "");
}

#[actix_web::test]
async fn pings_and_pongs_pass_end_to_end() {
    let (_broker, _edge, mut browser, mut link) = pair().await;
    link.send(Message::Ping("from the broker".into())).await;
    assert_eq!(browser.next().await, Message::Ping("from the broker".into()));
    browser.flush().await;
    assert_eq!(link.next().await, Message::Pong("from the broker".into()));
    browser.send(Message::Ping("from the browser".into())).await;
    assert_eq!(link.next().await, Message::Ping("from the browser".into()));
    link.flush().await;
    assert_eq!(browser.next().await, Message::Pong("from the browser".into()));
}

#[actix_web::test]
async fn frames_sent_before_the_broker_is_reached_wait() {
    let mut broker = Broker::start().await;
    let edge = Edge::with(|settings| {
        settings.web.broker_url = Some(broker.url());
        settings.web.upstream_queue_bytes = 0;
    });
    let mut browser = edge.browser().await;
    browser.say(&big("x")).await;
    assert!(broker.link().await.text().await == big("x"));
}

#[actix_web::test]
async fn close_codes_of_the_broker_pass_through_with_their_reason() {
    for code in [1000, 1003, 1007, 1009, 4001, 4003, 4008, 4009, 4010, 4011, 4400] {
        let (_broker, edge, mut browser, mut link) = pair().await;
        link.say("last words").await;
        link.close(code, "the reason").await;
        assert_eq!(browser.text().await, "last words");
        assert_eq!(browser.closed().await, (code, "the reason".to_owned()));
        assert_eq!(link.closed().await, code, "the edge answers the close");
        eventually("no socket left", async || (edge.get("/stats").await.json()["browsers"]["sockets"] == 0).then_some(())).await;
    }
}

#[actix_web::test]
async fn the_browsers_close_passes_to_the_broker() {
    let (_broker, _edge, mut browser, mut link) = pair().await;
    browser.say("last words").await;
    browser.close(4999, "done").await;
    assert_eq!(link.text().await, "last words");
    assert_eq!(link.closed().await, 4999);
    assert_eq!(browser.closed().await.0, 4999);
}

#[actix_web::test]
async fn a_browser_that_vanishes_leaves_the_broker_at_once() {
    let (_broker, edge, browser, link) = pair().await;
    drop(browser);
    assert_eq!(link.closed().await, 4010, "it may come back");
    eventually("no socket left", async || (edge.get("/stats").await.json()["browsers"]["sockets"] == 0).then_some(())).await;
}

#[actix_web::test]
async fn tabs_of_a_session_are_counted_and_each_has_its_link() {
    let (mut broker, edge, browser, _link) = pair().await;
    let _second = edge.open("/ws", browser.session.clone(), browser.token.clone()).await;
    let _second_link = broker.link().await;
    let path = format!("/api/client/{}", browser.session);
    let seen = edge.request("GET", &path, &[("Authorization", &format!("Bearer {}", browser.token))]).await;
    assert_eq!(seen.json()["connections"], 2);
}
