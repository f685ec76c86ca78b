//! The cases behind the names of the scenarios, with all their parameters.
//!
//! The parameters are the same for every peer. The reports use the names of the cases.

use std::time::Duration;

use crate::args::{PeerKind, Scenario};

/// File descriptors that server and generator need for other things than connections.
const SPARE_FILES: u64 = 400;

/// How thorough a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Fractions of a second and small numbers: only a check of correctness.
    Quick,
    /// Seconds.
    Short,
    /// Longer, with as much data as the goals name.
    Long,
}

/// One measurement: one line for each peer in the report.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The load.
    pub load: Load,
    /// Bytes of each payload.
    pub payload: usize,
    /// How long the load runs before it is measured.
    pub warm_up: Duration,
    /// How long it is measured.
    pub measured: Duration,
}

/// The load on a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// One publisher, as fast as the slowest of `subscribers` allows: it is at most `window`
    /// messages ahead of it.
    FanOut {
        /// How many subscribers there are.
        subscribers: u32,
        /// Messages.
        window: u32,
    },
    /// One publisher at a fixed pace.
    Paced {
        /// How many subscribers there are.
        subscribers: u32,
        /// Messages a second.
        rate: f64,
    },
    /// Requests and replies.
    Replies {
        /// Requesters, each with a responder of its own.
        pairs: u32,
        /// Requests a second in all; `None`: each requester sends the next one as soon as it has
        /// its answer.
        rate: Option<f64>,
    },
    /// Agents that each stream to one viewer.
    Streams {
        /// How many.
        agents: u32,
        /// Messages a second of each.
        rate: f64,
    },
    /// Connections that do nothing.
    Idle {
        /// How many.
        connections: u32,
    },
    /// Messages that are stored and confirmed.
    Store {
        /// How many senders there are.
        senders: u32,
        /// How many messages of each sender may be unconfirmed.
        window: u32,
        /// What a confirmation means.
        durability: Durability,
    },
    /// Fan-out of a fixed amount, once with all subscribers reading and once with one that does
    /// not.
    Stall {
        /// How many subscribers there are; the last one is stuck.
        subscribers: u32,
        /// How many messages the publisher may be ahead of the slowest subscriber that reads.
        window: u32,
        /// Payload bytes that are delivered to the subscribers that read.
        bytes: u64,
        /// The stuck subscriber must be closed within this time.
        closed_within: Duration,
    },
}

/// What the confirmation of a stored message means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is in the server's memory.
    Memory,
    /// The operating system has it.
    Process,
    /// It is on the disk.
    Fsync,
}

impl Durability {
    /// All of them, the cheapest first.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Process, Self::Fsync];

    /// Its name in the bridge's configuration and in the names of cases.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Process => "process",
            Self::Fsync => "fsync",
        }
    }
}

/// How many payload bytes a publisher may be ahead of the slowest subscriber, roughly.
const WINDOW_BYTES: usize = 256 * 1024;
/// How many messages of [`BULK`] bytes the window has. With their envelopes they take less than
/// half of a 1 MiB outbox.
const WINDOW: u32 = 1024;
/// Bytes of a bulk message and of a request.
const BULK: usize = 200;
/// Bytes of a streamed token's message.
const TOKEN: usize = 40;
/// Bytes of a message to be stored.
const STORED: usize = 300;
/// Bytes of a large message. With its envelope it is just below a frame limit of 1 MiB.
const LARGE: usize = 1024 * 1024 - 1024;
const _: () = assert!(WINDOW as usize * BULK <= WINDOW_BYTES);

impl Case {
    /// The cases of `scenario` in this form.
    pub fn of(scenario: Scenario, form: Form) -> Vec<Self> {
        let quick = form == Form::Quick;
        let pick = |small: u32, full: u32| if quick { small } else { full };
        let loads: Vec<Load> = match scenario {
            Scenario::S1 => {
                [pick(20, 100), pick(50, 1000)].map(|subscribers| Load::FanOut { subscribers, window: WINDOW }).into()
            }
            Scenario::S1p => vec![Load::Paced { subscribers: pick(20, 100), rate: 500.0 }],
            Scenario::S2 => [None, Some(1000.0)]
                .into_iter()
                .flat_map(|rate| [1, pick(10, 100)].map(|pairs| Load::Replies { pairs, rate }))
                .collect(),
            Scenario::S3 => vec![Load::Streams { agents: pick(20, 200), rate: 50.0 }],
            Scenario::S4 if quick => vec![Load::Idle { connections: 300 }],
            Scenario::S4 => [5000, 19_500].map(|connections| Load::Idle { connections }).into(),
            Scenario::S5 => vec![Load::Stall {
                subscribers: pick(10, 100),
                window: WINDOW,
                bytes: match form {
                    Form::Quick => 40_000_000,
                    Form::Short => 1_000_000_000,
                    Form::Long => 10_000_000_000,
                },
                closed_within: if quick { Duration::from_secs(4) } else { Duration::from_secs(14) },
            }],
            Scenario::S6 => vec![Load::FanOut { subscribers: pick(3, 10), window: 2 }],
            Scenario::D1 => [1, 16]
                .into_iter()
                .flat_map(|window| Durability::ALL.map(|durability| Load::Store { senders: pick(8, 64), window, durability }))
                .collect(),
        };
        loads.into_iter().map(|load| Self::new(scenario, load, form)).collect()
    }

    fn new(scenario: Scenario, load: Load, form: Form) -> Self {
        let seconds = match form {
            Form::Quick => (0.1, 0.4),
            Form::Short => (1.0, 5.0),
            Form::Long => (2.0, 15.0),
        };
        let payload = match scenario {
            Scenario::S3 => TOKEN,
            Scenario::S6 => LARGE,
            Scenario::D1 => STORED,
            _ => BULK,
        };
        Self {
            name: name(scenario, load),
            load,
            payload,
            warm_up: Duration::from_secs_f64(seconds.0),
            measured: Duration::from_secs_f64(seconds.1),
        }
    }

    /// Why the case cannot be run against `peer`, if it cannot. A process needs one descriptor for
    /// each idle connection and may have `files`; not every peer can store messages.
    pub fn obstacle(&self, peer: PeerKind, files: u64) -> Option<String> {
        match (self.load, peer) {
            (Load::Idle { connections }, _) => {
                let needed = u64::from(connections) + SPARE_FILES;
                (needed > files).then(|| format!("needs {needed} open files in one process, {files} are allowed"))
            }
            (Load::Store { .. }, PeerKind::Relay) => Some("it stores nothing".into()),
            (Load::Store { .. }, PeerKind::Edge) => Some("agents send, and they do not go through the edge".into()),
            _ => None,
        }
    }

    /// What the server must guarantee for the messages that it stores; `None` if the case stores
    /// nothing.
    pub fn durability(&self) -> Option<Durability> {
        match self.load {
            Load::Store { durability, .. } => Some(durability),
            _ => None,
        }
    }
}

fn name(scenario: Scenario, load: Load) -> String {
    match load {
        Load::FanOut { subscribers, .. } if scenario == Scenario::S6 => format!("s6/{subscribers}"),
        Load::FanOut { subscribers, .. } => format!("s1/{subscribers}"),
        Load::Paced { subscribers, .. } => format!("s1p/{subscribers}"),
        Load::Replies { pairs, rate: None } => format!("s2/{pairs}"),
        Load::Replies { pairs, rate: Some(rate) } => format!("s2/{pairs}@{rate}"),
        Load::Streams { agents, .. } => format!("s3/{agents}"),
        Load::Idle { connections } => format!("s4/{connections}"),
        Load::Stall { subscribers, .. } => format!("s5/{subscribers}"),
        Load::Store { senders, window, durability } => format!("d1/{senders}x{window}/{}", durability.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_cases_with_names_of_their_own() {
        for form in [Form::Quick, Form::Short, Form::Long] {
            let mut names: Vec<_> =
                Scenario::ALL.into_iter().flat_map(|scenario| Case::of(scenario, form)).map(|case| case.name).collect();
            let count = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count);
            assert!(count >= 10);
        }
    }

    #[test]
    fn cases_that_need_too_many_files_are_not_run() {
        let cases = Case::of(Scenario::S4, Form::Short);
        let obstacles: Vec<_> = cases.iter().map(|case| case.obstacle(PeerKind::Bridge, 10_000).is_some()).collect();
        assert_eq!(obstacles, [false, true]);
        assert!(cases.iter().all(|case| case.obstacle(PeerKind::Bridge, 20_000).is_none()));
    }
}
