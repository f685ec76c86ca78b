//! The edge beside a broker in the same process: without a socket between them, everything else as
//! usual.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use common::{assertion::ClientIdentity, error::ErrorCode};
use futures_util::{SinkExt, StreamExt};
use tokio::{io::DuplexStream, sync::mpsc};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use transport::Socket;
use web_server::SessionPipe;

use crate::harness::{Edge, in_time};

/// What the broker's side gets of a connection.
type Accepted = mpsc::UnboundedReceiver<(ClientIdentity, DuplexStream)>;

fn broker() -> (SessionPipe, Accepted, Arc<AtomicBool>) {
    let (hand_over, accepted) = mpsc::unbounded_channel();
    let is_full = Arc::new(AtomicBool::new(false));
    let full = Arc::clone(&is_full);
    let connect = move |identity| {
        if full.load(Relaxed) {
            return Err(ErrorCode::AtCapacity);
        }
        let (edge, broker) = tokio::io::duplex(64 * 1024);
        hand_over.send((identity, broker)).map_err(|_| ErrorCode::NotReady)?;
        Ok(Box::new(edge) as Box<dyn Socket>)
    };
    (Arc::new(connect), accepted, is_full)
}

async fn next(accepted: &mut Accepted) -> (ClientIdentity, WebSocketStream<DuplexStream>) {
    let (identity, socket) = in_time("a connection from the edge", accepted.recv()).await.expect("the edge runs");
    (identity, WebSocketStream::from_raw_socket(socket, Role::Server, None).await)
}

#[actix_web::test]
async fn frames_pass_and_the_broker_knows_whose_they_are() {
    let (connect, mut accepted, _) = broker();
    let edge = Edge::beside(connect);
    let mut browser = edge.browser().await;
    let (identity, mut link) = next(&mut accepted).await;
    assert_eq!(identity.session_id.to_string(), browser.session);
    let big = "x".repeat(1024 * 1024);
    let up = async {
        browser.say(&big).await;
        assert_eq!(browser.text().await, "hello");
    };
    let down = async {
        assert!(link.next().await.expect("open").expect("valid") == Message::text(big.as_str()));
        link.send(Message::text("hello")).await.expect("open");
    };
    in_time("both ways", async { tokio::join!(up, down) }).await;
}

#[actix_web::test]
async fn a_session_that_ends_there_is_connected_again() {
    let (connect, mut accepted, is_full) = broker();
    let edge = Edge::beside(connect);
    let mut browser = edge.browser().await;
    let (_, link) = next(&mut accepted).await;
    is_full.store(true, Relaxed);
    drop(link);
    browser.upstream("lost").await;
    browser.upstream("lost").await;
    is_full.store(false, Relaxed);
    let (_, mut link) = next(&mut accepted).await;
    browser.upstream("restored").await;
    browser.say("still here").await;
    assert_eq!(in_time("a frame", link.next()).await.expect("open").expect("valid"), Message::text("still here"));
    drop(browser);
    let end = in_time("the end", link.next()).await;
    assert!(matches!(end, Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == 4010));
}
