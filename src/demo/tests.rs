//! The demo agent against a minimal broker: what it sends, when it comes back and when it does not.

use std::time::Duration;

use common::close::CloseCode;
use common::config::Settings;
use common::secret::Secret;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use gateway::doors::{Backoff, Ending, Tuning};

use super::{DemoError, DemoOptions, outcome, run_with};

struct Broker(TcpListener);

impl Broker {
    async fn start() -> (Self, DemoOptions) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = DemoOptions {
            url: format!("ws://{}", listener.local_addr().unwrap()),
            tls: None,
            key: Secret::new("test-agent-key"),
            agent_id: "demo".into(),
            max_concurrency: 2,
            token_pace: Duration::from_millis(1),
        };
        (Self(listener), options)
    }

    /// The next connection, upgraded and past its registration.
    async fn accept(&self) -> Peer {
        let (stream, _) = self.0.accept().await.unwrap();
        let mut socket = accept_hdr_async(stream, check).await.unwrap();
        // Nobody speaks before the broker does.
        let ack = json!({
            "type": "connection:ack",
            "source": "bridge",
            "payload": {"heartbeat": {"timeout_ms": 30_000}, "limits": {"max_frame_bytes": 1_048_576}},
        });
        socket.send(Message::text(ack.to_string())).await.unwrap();
        let register = read(&mut socket).await;
        assert_eq!(register["type"], "agent:register");
        assert_eq!(register["payload"]["agent_id"], "demo");
        Peer(socket)
    }
}

#[expect(clippy::result_large_err, reason = "the library's callback has this type")]
fn check(request: &Request, response: Response) -> Result<Response, ErrorResponse> {
    assert_eq!(request.uri().to_string(), "/ws/agent?agent_id=demo");
    assert_eq!(request.headers()["authorization"], "Bearer test-agent-key");
    Ok(response)
}

struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    async fn ask(&mut self, id: &str, text: &str) {
        let frame = json!({"id": id, "type": "message:send", "source": "session:s", "payload": {"text": text}});
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        read(&mut self.0).await
    }

    async fn close(mut self, code: CloseCode) {
        self.0.close(Some(CloseFrame { code: code.0.into(), reason: "because".into() })).await.unwrap();
        while self.0.next().await.is_some_and(|frame| frame.is_ok()) {}
    }
}

async fn read(socket: &mut WebSocketStream<TcpStream>) -> Value {
    loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// Runs the agent beside `script`, tells it to stop when the script ends, and returns how both
/// ended.
async fn beside<T>(options: DemoOptions, script: impl Future<Output = T>) -> (Result<(), DemoError>, T) {
    let (stop, stopped) = oneshot::channel::<()>();
    let agent = run_with(options, tuning(), async {
        let _ = stopped.await;
    });
    let script = async {
        let told = script.await;
        let _ = stop.send(());
        told
    };
    in_time(async { tokio::join!(agent, script) }).await
}

/// Runs the agent beside `script` until it gives up by itself.
async fn gives_up(options: DemoOptions, script: impl Future<Output = ()>) -> DemoError {
    let agent = run_with(options, tuning(), std::future::pending());
    let (result, ()) = in_time(async { tokio::join!(agent, script) }).await;
    result.expect_err("the agent should have given up")
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("agent and script end in time")
}

fn tuning() -> Tuning {
    Tuning { backoff: Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(20) }, ..Tuning::default() }
}

#[tokio::test]
async fn questions_are_answered_over_the_socket_and_shutdown_says_goodbye() {
    let (broker, options) = Broker::start().await;
    let (result, mut peer) = beside(options, async {
        let mut peer = broker.accept().await;
        peer.ask("q1", "count 3").await;
        let mut text = String::new();
        let done = loop {
            let frame = peer.hear().await;
            match frame["type"].as_str().unwrap() {
                "message:delta" => text.push_str(frame["payload"]["text"].as_str().unwrap()),
                "message:done" => break frame,
                "agent:status" => assert_eq!(frame["payload"]["status"], "busy"),
                other => panic!("{other}"),
            }
        };
        assert_eq!((&done["target"], &done["correlation_id"]), (&json!("session:s"), &json!("q1")));
        assert_eq!(done["payload"]["text"], json!(text));
        assert_eq!(text, "1 2 3");
        assert_eq!(peer.hear().await["payload"]["status"], "idle");
        peer
    })
    .await;
    assert!(result.is_ok());
    match peer.0.next().await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), CloseCode::NORMAL.0),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_lost_or_restarting_broker_is_found_again() {
    let (broker, options) = Broker::start().await;
    let (result, ()) = beside(options, async {
        drop(broker.accept().await);
        broker.accept().await.close(CloseCode::SERVICE_RESTART).await;
        let mut peer = broker.accept().await;
        peer.ask("q", "echo back").await;
        assert_eq!(peer.hear().await["payload"]["text"], "back");
    })
    .await;
    assert!(result.is_ok());
}

#[tokio::test]
async fn the_older_of_two_with_one_id_stays_away() {
    let (broker, options) = Broker::start().await;
    let error = gives_up(options, async { broker.accept().await.close(CloseCode::TAKEN_OVER).await }).await;
    assert!(matches!(error, DemoError::Closed { code: 4009, .. }), "{error}");
}

#[tokio::test]
async fn a_refused_key_is_not_tried_again_and_the_reason_is_told() {
    let (broker, options) = Broker::start().await;
    let error = gives_up(options, async {
        let (mut stream, _) = broker.0.accept().await.unwrap();
        let body = r#"{"error":{"code":"unauthorized","message":"send a valid key","temporary":false}}"#;
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        let answer = format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    assert!(matches!(&error, DemoError::Refused { status: 401, message } if message == "send a valid key"), "{error}");
}

#[test]
fn only_a_normal_close_is_no_error() {
    let closed_with = |code| outcome(Ending::Closed { code: CloseCode(code), reason: String::new() });
    assert!(closed_with(1000).is_ok());
    for code in [4001, 4003, 4009, 4400, 1002] {
        assert!(matches!(closed_with(code), Err(DemoError::Closed { .. })), "{code}");
    }
}

#[test]
fn options_follow_the_broker_address() {
    let mut settings = Settings::for_tests();
    settings.broker.addr = ([0, 0, 0, 0], 8080).into();
    assert_eq!(DemoOptions::from_settings(&settings).unwrap().url, "ws://127.0.0.1:8080");
    settings.demo.url = Some("ws://other:1".into());
    assert_eq!(DemoOptions::from_settings(&settings).unwrap().url, "ws://other:1");
}
