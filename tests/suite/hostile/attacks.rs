//! Attacks that continue until they are told to stop, each from its own address.

use std::{
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
    sync::oneshot,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::wire::{connect, handshake};
use crate::harness::{Credentials, EchoAgent, Ended, Peer, Site};

/// The pause between two attempts of one attacker, so that the attackers leave their victim a part
/// of the processor.
pub(super) const BREATH: Duration = Duration::from_millis(5);
/// How long an attacker waits for an answer before it continues.
pub(super) const MOMENT: Duration = Duration::from_millis(200);

/// The attackers, and what they count.
#[derive(Default)]
pub struct Attackers {
    attacks: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pub counts: Arc<Counts>,
}

/// Running attackers, on a separate thread so that they do not delay their victims. Dropping it
/// stops them.
pub struct Siege {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Siege {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the attackers did and met.
#[derive(Debug, Default)]
pub struct Counts {
    pub connections: AtomicU64,
    pub turned_away: AtomicU64,
    pub slow_bytes: AtomicU64,
    pub messages: AtomicU64,
    pub told_to_slow_down: AtomicU64,
    pub closed_4029: AtomicU64,
    pub bad_frames: AtomicU64,
    pub refused: AtomicU64,
}

impl Attackers {
    /// Starts them.
    pub fn begin(self) -> Siege {
        let (stop, stopped) = oneshot::channel::<()>();
        let attacks = self.attacks;
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let _attacks: JoinSet<()> = attacks.into_iter().collect();
                // An error means that the sender has gone: time to stop.
                let _ = stopped.await;
            });
        });
        Siege { stop: Some(stop), thread: Some(thread) }
    }

    /// One more attacker.
    pub(super) fn start<F: Future<Output = ()> + Send + 'static>(&mut self, attack: impl FnOnce(Arc<Counts>) -> F) {
        self.attacks.push(Box::pin(attack(Arc::clone(&self.counts))));
    }

    /// Handshakes that never end: many connections that send a byte now and then.
    pub fn slowloris(&mut self, from: Ipv4Addr, listeners: [SocketAddr; 2], connections: usize) {
        for number in 0..connections {
            let to = listeners[number % listeners.len()];
            self.start(async move |counts| {
                loop {
                    let mut socket = connected(from, to, &counts).await;
                    for byte in handshake("/ws", to, "").into_bytes() {
                        if socket.write_all(&[byte]).await.is_err() {
                            break;
                        }
                        counts.slow_bytes.fetch_add(1, Relaxed);
                        let mut rest = [0; 16];
                        match timeout(MOMENT, socket.read(&mut rest)).await {
                            Ok(_) => break,
                            Err(_) => continue,
                        }
                    }
                    counts.turned_away.fetch_add(1, Relaxed);
                    sleep(BREATH).await;
                }
            });
        }
    }

    /// As many connections as possible that send nothing or nonsense.
    pub fn connection_flood(&mut self, from: Ipv4Addr, listeners: [SocketAddr; 2], attackers: usize) {
        for number in 0..attackers {
            let to = listeners[number % listeners.len()];
            self.start(async move |counts| {
                let mut held = std::collections::VecDeque::new();
                loop {
                    let mut socket = connected(from, to, &counts).await;
                    let _ = socket.write_all(b"\x16\x03\x01 GET nonsense").await;
                    held.push_back(socket);
                    if held.len() > 64 {
                        held.pop_front();
                    }
                    sleep(BREATH).await;
                }
            });
        }
    }

    /// Wrong keys and forged tokens, again and again.
    pub fn guesses(&mut self, from: Ipv4Addr, site: &Site) {
        for (to, path) in [(site.broker, "/ws/agent"), (site.edge, "/ws")] {
            self.start(async move |counts| {
                loop {
                    if let Err(crate::harness::DialError::Refused(_)) = Peer::dial_from(from, to, path, "a-guess").await {
                        counts.refused.fetch_add(1, Relaxed);
                    }
                    sleep(BREATH).await;
                }
            });
        }
    }

    /// Sessions that send to an agent as fast as they can, and come back when they are closed. The
    /// agent answers everything, and belongs to the attackers too.
    pub fn message_flood(&mut self, from: Ipv4Addr, site: &Site, sessions: Vec<Credentials>, agent: &'static str) {
        let (edge, of_agent) = (site.edge, site.clone());
        self.start(async move |_| {
            let _agent = EchoAgent::start(&of_agent, agent).await;
            std::future::pending::<()>().await;
        });
        for session in sessions {
            self.start(async move |counts| {
                loop {
                    let path = format!("/ws/{}", session.id);
                    let Ok(mut peer) = Peer::dial_from(from, edge, &path, &session.token).await else {
                        sleep(MOMENT).await;
                        continue;
                    };
                    counts.connections.fetch_add(1, Relaxed);
                    match flood(&mut peer, agent, &counts).await {
                        Ended::Code(4029) => counts.closed_4029.fetch_add(1, Relaxed),
                        _ => counts.turned_away.fetch_add(1, Relaxed),
                    };
                    sleep(MOMENT).await;
                }
            });
        }
    }

    /// Requests for what belongs to others, again and again, each on its own connection.
    pub fn requests(&mut self, from: Ipv4Addr, listeners: [SocketAddr; 2], request: impl Fn(SocketAddr) -> String) {
        for to in listeners {
            let request = request(to);
            self.start(async move |counts| {
                loop {
                    let mut socket = connected(from, to, &counts).await;
                    let _ = socket.write_all(request.as_bytes()).await;
                    let mut answer = [0; 512];
                    match timeout(MOMENT, socket.read(&mut answer)).await {
                        Ok(Ok(read)) if answer[..read].starts_with(b"HTTP/1.1 4") => counts.refused.fetch_add(1, Relaxed),
                        _ => counts.turned_away.fetch_add(1, Relaxed),
                    };
                    sleep(BREATH).await;
                }
            });
        }
    }

    /// Requests sent ahead on many connections, none of whose answers is read.
    pub fn unread_answers(&mut self, from: Ipv4Addr, listeners: [SocketAddr; 2], connections: usize) {
        for number in 0..connections {
            let to = listeners[number % listeners.len()];
            let ahead = format!("GET / HTTP/1.1\r\nHost: {to}\r\n\r\n").repeat(1000);
            self.start(async move |counts| {
                loop {
                    let mut socket = connected(from, to, &counts).await;
                    while let Ok(Ok(())) = timeout(MOMENT, socket.write_all(ahead.as_bytes())).await {}
                    // Stuck, and kept as long as the server allows.
                    let _ = timeout(Duration::from_secs(60), socket.ready(tokio::io::Interest::ERROR)).await;
                    counts.turned_away.fetch_add(1, Relaxed);
                    sleep(BREATH).await;
                }
            });
        }
    }

    /// Frames that are too long, incomplete, or invalid.
    pub fn bad_frames(&mut self, from: Ipv4Addr, edge: SocketAddr, session: Credentials) {
        const FRAMES: [&[u8]; 7] = [
            // A text of 1 TiB, and its first bytes.
            &[0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4, b'x'],
            // Half a frame, and then silence.
            &[0x81, 0xfe, 0x40, 0, 1, 2, 3, 4, b'h', b'a', b'l', b'f'],
            &[0x81, 0x05, b'p', b'l', b'a', b'i', b'n'],
            &[0xf1, 0x80, 0, 0, 0, 0],
            &[0x82, 0x81, 0, 0, 0, 0, 1],
            &[0x80, 0x81, 0, 0, 0, 0, b'x'],
            &[0x88, 0x81, 0, 0, 0, 0, 3],
        ];
        for frame in FRAMES {
            let session = session.clone();
            self.start(async move |counts| {
                let head = handshake("/ws", edge, &format!("Authorization: Bearer {}\r\n", session.token));
                loop {
                    let mut socket = connected(from, edge, &counts).await;
                    let _ = socket.write_all(head.as_bytes()).await;
                    let _ = socket.write_all(frame).await;
                    counts.bad_frames.fetch_add(1, Relaxed);
                    let mut answer = vec![0; 4096];
                    let _ = timeout(MOMENT, async { while socket.read(&mut answer).await.is_ok_and(|read| read > 0) {} }).await;
                    sleep(BREATH).await;
                }
            });
        }
    }
}

/// A connection, counted; tried until there is one.
async fn connected(from: Ipv4Addr, to: SocketAddr, counts: &Counts) -> TcpStream {
    loop {
        if let Ok(socket) = connect(from, to).await {
            counts.connections.fetch_add(1, Relaxed);
            return socket;
        }
        sleep(MOMENT).await;
    }
}

/// Sends until the connection ends.
pub(super) async fn flood(peer: &mut Peer, agent: &str, counts: &Counts) -> Ended {
    loop {
        for _ in 0..50 {
            let sent =
                timeout(MOMENT, peer.feed(json!({"type":"message:send","target":format!("agent:{agent}"),"payload":"flood"})));
            if let Ok(Ok(())) = sent.await {
                counts.messages.fetch_add(1, Relaxed);
            }
        }
        // It reads what it is sent, so that it does not count as a slow reader.
        loop {
            match timeout(Duration::from_millis(1), peer.receive()).await {
                Ok(Ok(frame)) if frame["payload"]["code"] == "rate_limited" => {
                    counts.told_to_slow_down.fetch_add(1, Relaxed);
                }
                Ok(Ok(_)) => {}
                Ok(Err(ended)) => return ended,
                Err(_) => break,
            }
        }
    }
}
