//! The broker goes away and comes back under open browsers.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{
    Bytes, Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::{
    broker::Broker,
    harness::{Edge, eventually},
    proxy::pair,
};

#[actix_web::test]
async fn the_browsers_socket_outlives_the_broker() {
    let (broker, edge, mut browser, link) = pair().await;
    let addr = broker.stop().await;
    drop(link);
    let lost = browser.upstream("lost").await;
    assert!(lost["payload"]["retry_in_ms"].as_u64().is_some_and(|wait| wait <= 20), "{lost}");
    browser.say("sent meanwhile").await;
    browser.upstream("lost").await;

    let mut broker = Broker::at(addr).await;
    let mut link = broker.link().await;
    link.say("the new ack").await;
    assert_eq!(browser.upstream("restored").await["payload"]["retry_in_ms"], serde_json::Value::Null);
    assert_eq!(browser.text().await, "the new ack");
    assert_eq!(link.text().await, "sent meanwhile");
    browser.say("and on").await;
    assert_eq!(link.text().await, "and on");
    let stats = edge.get("/stats").await.json();
    assert_eq!(stats["upstream"]["reconnects"], 1);
    assert_eq!(stats["browsers"]["opened"], 1);
}

#[actix_web::test]
async fn codes_that_mean_away_are_met_with_another_dial() {
    let (mut broker, _edge, mut browser, mut link) = pair().await;
    for code in [1001, 1011, 1012, 1013] {
        link.close(code, "back soon").await;
        browser.upstream("lost").await;
        link = broker.link().await;
        browser.upstream("restored").await;
        browser.say("still here").await;
        assert_eq!(link.text().await, "still here");
    }
}

#[actix_web::test]
async fn a_broker_that_is_full_is_dialled_again_and_one_that_refuses_is_not() {
    let mut broker = Broker::start().await;
    let edge = Edge::with(|settings| settings.web.broker_url = Some(broker.url()));
    for status in [503, 429, 500, 401] {
        broker.refuse(Some(status));
        let mut browser = edge.browser().await;
        browser.upstream("lost").await;
        broker.refuse(None);
        let _link = broker.link().await;
        browser.upstream("restored").await;
    }
    for (status, code) in [(404, 1011), (400, 1011), (403, 4003)] {
        broker.refuse(Some(status));
        assert_eq!(edge.browser().await.closed().await.0, code, "{status}");
    }
}

#[actix_web::test]
async fn frames_that_do_not_fit_the_queue_are_dropped_and_reported_once() {
    let mut broker = Broker::start().await;
    let edge = Edge::with(|settings| {
        settings.web.broker_url = Some(broker.url());
        settings.web.upstream_queue_bytes = 10 * 1024;
    });
    let mut browser = edge.browser().await;
    let link = broker.link().await;
    let addr = broker.stop().await;
    drop(link);
    browser.upstream("lost").await;
    for number in 0..20 {
        browser.say(&format!("{number:0>1000}")).await;
    }
    // The edge itself answers: when the pong comes, everything above has been read.
    browser.send(Message::Ping("mark".into())).await;
    browser.pong("mark").await;

    let mut broker = Broker::at(addr).await;
    let mut link = broker.link().await;
    let kept = 10;
    for number in 0..kept {
        assert_eq!(link.text().await, format!("{number:0>1000}"));
    }
    browser.upstream("restored").await;
    let told = browser.envelope().await;
    assert_eq!(told["type"], "system:error");
    assert_eq!(told["payload"]["code"], "upstream_unavailable");
    assert_eq!(told["payload"]["temporary"], true);
    assert!(told["payload"]["message"].as_str().is_some_and(|message| message.starts_with("10 messages")), "{told}");
    browser.say("from here on all is well").await;
    assert_eq!(link.text().await, "from here on all is well");
    link.say("no second notice").await;
    assert_eq!(browser.text().await, "no second notice");
}

#[actix_web::test]
async fn a_message_cut_in_half_by_the_loss_never_reaches_the_next_broker() {
    let (broker, _edge, mut browser, mut link) = pair().await;
    let fragment = |opcode, text: &str, is_final| {
        Message::Frame(Frame::message(Bytes::copy_from_slice(text.as_bytes()), OpCode::Data(opcode), is_final))
    };
    browser.send(fragment(Data::Text, "first half", false)).await;
    browser.send(Message::Ping("mark".into())).await;
    assert_eq!(link.next().await, Message::Ping("mark".into()));
    let addr = broker.stop().await;
    drop(link);
    browser.upstream("lost").await;
    let mut broker = Broker::at(addr).await;
    let mut link = broker.link().await;
    browser.upstream("restored").await;
    browser.send(fragment(Data::Continue, "second half", true)).await;
    browser.say("whole").await;
    assert_eq!(link.text().await, "whole");
}

#[actix_web::test]
async fn a_browser_with_half_a_message_of_a_lost_broker_is_told_to_come_again() {
    let (broker, _edge, mut browser, mut link) = pair().await;
    link.send(Message::Frame(Frame::message(Bytes::from_static(b"first half"), OpCode::Data(Data::Text), false))).await;
    link.send(Message::Ping("mark".into())).await;
    assert_eq!(browser.next().await, Message::Ping("mark".into()));
    broker.stop().await;
    drop(link);
    assert_eq!(browser.closed().await.0, 1012);
}

#[actix_web::test]
async fn while_the_broker_is_away_the_edge_keeps_the_heartbeat() {
    let edge = Edge::with(|settings| {
        settings.heartbeat.interval = Duration::from_millis(50);
        settings.heartbeat.timeout = Duration::from_millis(400);
        settings.limits.slow_consumer_timeout = Duration::from_millis(100);
    });
    let mut browser = edge.browser().await;
    let mut pings = 0;
    while pings < 3 {
        pings += u32::from(matches!(browser.next().await, Message::Ping(_)));
    }
    // A browser that answers pings stays (the library answers while it reads). One that does not is
    // closed, here only after the patience that a paused side needs.
    let stats = async || edge.get("/stats").await.json()["browsers"]["silent"].as_u64();
    assert_eq!(stats().await, Some(0));
    eventually("the silent browser is closed", async || (stats().await == Some(1)).then_some(())).await;
    assert_eq!(browser.closed().await.0, 4010);
}

#[actix_web::test]
async fn a_broker_that_accepts_and_says_nothing_is_dialled_again() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("ws://{}", silent.local_addr().expect("bound"));
    let edge = Edge::with(|settings| {
        settings.web.broker_url = Some(url);
        settings.limits.handshake_timeout = Duration::from_secs(1);
    });
    let mut browser = edge.browser().await;
    browser.upstream("lost").await;
}
