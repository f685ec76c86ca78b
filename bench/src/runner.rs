//! Runs the cases. The peers take turns in each repetition.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::args::{BenchArgs, PeerKind, Scenario};
use crate::error::BenchError;
use crate::measure::Measure;
use crate::plan::{Case, Form};
use crate::report::{CaseReport, Machine, Outcome, Report, Run};
use crate::scenario::{self, Findings, RunError};
use crate::server::{Cores, Front, Lab, Programs, StartError, find, raise_file_limit};

/// The bridge's time limit for slow consumers in the quick form: short, so that the run sees a
/// stuck one closed.
const QUICK_SLOW_CONSUMER: Duration = Duration::from_secs(2);

/// Runs the cases that `args` asks for. Prints the report to standard output and progress to
/// standard error.
///
/// # Errors
///
/// [`BenchError::Failed`], with the report, if any run found a fault. With the other errors there
/// is no report.
pub fn run(args: BenchArgs) -> Result<Report, BenchError> {
    // A thread of its own, because it is bound to a core and the caller is not.
    let generator = std::thread::Builder::new().name("generator".into()).spawn(move || run_here(args))?;
    generator.join().map_err(|_| BenchError::Panicked)?
}

fn run_here(args: BenchArgs) -> Result<Report, BenchError> {
    let cores = if args.no_pin { Cores::unpinned() } else { Cores::pinned(args.server_core, args.generator_core) };
    let machine = Machine::here(cores.are_pinned());
    cores.pin_generator()?;
    let files = raise_file_limit();
    let form = match (args.quick, args.long) {
        (true, _) => Form::Quick,
        (false, true) => Form::Long,
        (false, false) => Form::Short,
    };
    let lab =
        Lab { programs: programs(&args), cores, slow_consumer_timeout: (form == Form::Quick).then_some(QUICK_SLOW_CONSUMER) };
    let scenarios = if args.scenario.is_empty() { Scenario::ALL.to_vec() } else { args.scenario.clone() };
    let cases: Vec<Case> = scenarios.into_iter().flat_map(|scenario| Case::of(scenario, form)).collect();
    let peers = peers(&args, &lab.programs);
    let repeats = args.repeats.max(1);

    let mut runs: Vec<Vec<Run>> = cases.iter().map(|_| Vec::new()).collect();
    for repeat in 1..=repeats {
        for (case, runs) in cases.iter().zip(&mut runs) {
            // Every second repetition has the reverse order, so that no peer is always first.
            let turns: Vec<PeerKind> = if repeat % 2 == 1 { peers.clone() } else { peers.iter().rev().copied().collect() };
            for peer in turns {
                let start = Instant::now();
                let run = one(case, peer, &lab, files);
                let seconds = start.elapsed().as_secs_f64();
                eprintln!("{repeat}/{repeats} {:<12} {:<7} {seconds:>5.1} s  {}", case.name, peer.name(), summary(&run));
                runs.push(run);
            }
        }
    }
    let cases = cases.into_iter().zip(runs).map(|(case, runs)| CaseReport::new(case.name, runs)).collect();
    let json = args.json.clone();
    let report = Report::new(machine, args, cases);
    println!("{report}");
    if let Some(path) = json {
        write_json(&path, &report).map_err(|error| BenchError::Json { path, error })?;
    }
    if report.failed() > 0 { Err(BenchError::Failed(Box::new(report))) } else { Ok(report) }
}

/// One run of `case` against a fresh server.
fn one(case: &Case, peer: PeerKind, lab: &Lab, files: u64) -> Run {
    if let Some(obstacle) = case.obstacle(peer, files) {
        return Run { peer, measures: Vec::new(), notes: Vec::new(), outcome: Outcome::Skipped(obstacle) };
    }
    let found = match peer {
        PeerKind::Bridge => scenario::run(case, || lab.bridge(Front::Broker, case.payload, case.durability())),
        PeerKind::Tls => scenario::run(case, || lab.bridge(Front::BrokerUnderTls, case.payload, case.durability())),
        PeerKind::Edge => scenario::run(case, || lab.bridge(Front::Edge, case.payload, None)),
        PeerKind::Nats => scenario::run(case, || lab.nats(case.durability())),
        PeerKind::Relay => scenario::run(case, || lab.relay()),
    };
    let (Findings { measures, notes }, outcome) = match found {
        Ok(findings) => (findings, Outcome::Valid),
        Err(RunError::Start(StartError::TooOld(why))) => (Findings::default(), Outcome::Skipped(why.into())),
        Err(error) => (Findings::default(), Outcome::Failed(explain(&error))),
    };
    Run { peer, measures, notes, outcome }
}

fn explain(error: &RunError) -> String {
    match error {
        RunError::Start(_) | RunError::Fault(_) => error.to_string(),
        RunError::Io(_) => format!("the system: {error}"),
    }
}

fn summary(run: &Run) -> String {
    let shown = |measure: &Measure| format!("{} {:.3} {}", measure.name, measure.value, measure.unit);
    match &run.outcome {
        Outcome::Valid => run.measures.iter().take(3).map(shown).collect::<Vec<_>>().join(", "),
        Outcome::Skipped(reason) => format!("not run: {reason}"),
        Outcome::Failed(reason) => format!("FAILED: {reason}"),
    }
}

fn programs(args: &BenchArgs) -> Programs {
    let this = std::env::current_exe().ok();
    Programs {
        bridge: args.server.clone().unwrap_or_else(|| find("agent-bridge", this.as_deref())),
        relay: args.relay.clone().unwrap_or_else(|| find("relay", this.as_deref())),
        nats: args.nats.clone().unwrap_or_else(|| find("nats-server", None)),
    }
}

/// The peers to measure. A comparison leaves out those that are not installed; a peer that was
/// named is never left out.
fn peers(args: &BenchArgs, programs: &Programs) -> Vec<PeerKind> {
    if !args.peers.is_empty() {
        return args.peers.clone();
    }
    if !args.compare {
        return vec![PeerKind::Bridge];
    }
    let is_there = |peer: &PeerKind| {
        let program: &Path = match peer {
            PeerKind::Bridge | PeerKind::Tls | PeerKind::Edge => &programs.bridge,
            PeerKind::Nats => &programs.nats,
            PeerKind::Relay => &programs.relay,
        };
        let there = program.is_file();
        if !there {
            eprintln!("{} is left out: there is no {}", peer.name(), program.display());
        }
        there
    };
    PeerKind::ALL.into_iter().filter(is_there).collect()
}

fn write_json(path: &Path, report: &Report) -> std::io::Result<()> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    std::fs::write(path, text)
}
