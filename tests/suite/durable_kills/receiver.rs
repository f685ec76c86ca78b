//! The agent that receives, as a process of its own: this test program, run again for one test.
//! What it has printed when it is killed, it has received.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
};

use common::assertion::Acks;
use gateway::doors::Tuning;
use serde_json::Value;

use crate::harness::{door_at, quick};

/// The broker's address for the process; without it the test has nothing to do.
const BROKER: &str = "BRIDGE_TEST_BROKER";
/// The prefix of a received message in the output.
const SAID: &str = "received: ";

/// A running receiver. Dropping it kills it.
pub struct Receiver {
    child: Child,
    reading: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Starts one. Every message that it has received is passed to `on_message`, in order.
    pub fn start(broker: SocketAddr, mut on_message: impl FnMut(&Value) + Send + 'static) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("a program"));
        command.args(["--exact", "durable_kills::receiver::receiving", "--ignored", "--nocapture", "--test-threads", "1"]);
        command.env(BROKER, broker.to_string()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("starts");
        let printed = BufReader::new(child.stdout.take().expect("a pipe"));
        let reading = thread::spawn(move || {
            for line in printed.lines().map_while(Result::ok) {
                // The test program's own output stands before the first message.
                if let Some(frame) = line.split_once(SAID).and_then(|(_, frame)| serde_json::from_str(frame).ok()) {
                    on_message(&frame);
                }
            }
        });
        Self { child, reading: Some(reading) }
    }

    /// Ends it, SIGKILL, and waits until everything that it had received is known.
    pub fn kill(mut self) {
        self.end().expect("what it received was as it must be");
    }

    fn end(&mut self) -> thread::Result<()> {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.reading.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Receives and acknowledges until it is killed, and comes back when the broker does.
#[tokio::test]
#[ignore = "the process that durable kills starts"]
async fn receiving() {
    let Some(broker) = std::env::var(BROKER).ok().and_then(|addr| addr.parse().ok()) else { return };
    let tuning = Tuning { acks: Acks::Explicit, ..quick() };
    let (door, mut inbox) = door_at(broker, "worker", tuning);
    let mut out = std::io::stdout();
    while let Some(message) = inbox.recv().await {
        if !["job:new", "system:lost"].contains(&message.kind.as_str()) {
            continue;
        }
        // One write, so that a line is printed as a whole or not at all; and before the
        // acknowledgement, because work is done before it is acknowledged.
        if out.write_all(format!("{SAID}{}\n", message.text()).as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
        if let Some(position) = message.position.as_ref().filter(|_| message.kind == "job:new")
            && door.acknowledge(position).await.is_err()
        {
            return;
        }
    }
}
