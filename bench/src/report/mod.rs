//! The results of a bench run: every run, medians, ratios, goals.

mod goals;
mod table;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::args::{BenchArgs, PeerKind};
use crate::measure::Measure;
pub use goals::GoalResult;

/// The result of a whole bench.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Version of this tool.
    pub version: String,
    /// Where it ran.
    pub machine: Machine,
    /// Its options.
    pub args: BenchArgs,
    /// Every case, in the order in which they were run.
    pub cases: Vec<CaseReport>,
    /// The results for the goals whose peers were measured.
    pub goals: Vec<GoalResult>,
}

/// Where a bench ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Its cores.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Whether server and generator had a core each.
    pub pinned: bool,
}

/// One case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseReport {
    /// Its name.
    pub case: String,
    /// All its runs, in the order in which they were made.
    pub runs: Vec<Run>,
    /// The medians of each peer's valid runs.
    pub medians: BTreeMap<PeerKind, Vec<Measure>>,
}

/// One run of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The server.
    pub peer: PeerKind,
    /// Figures; none if the run failed.
    pub measures: Vec<Measure>,
    /// Findings that are not numbers.
    pub notes: Vec<String>,
    /// Whether the run counts, and if not, why.
    pub outcome: Outcome,
}

/// Whether a run counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state", content = "reason")]
pub enum Outcome {
    /// Every payload arrived as it should.
    Valid,
    /// The run was not made.
    Skipped(String),
    /// The run failed.
    Failed(String),
}

impl CaseReport {
    /// The report of `runs`.
    pub(crate) fn new(case: String, runs: Vec<Run>) -> Self {
        let mut medians = BTreeMap::new();
        for peer in PeerKind::ALL {
            let valid: Vec<&Run> = runs.iter().filter(|run| run.peer == peer && run.outcome == Outcome::Valid).collect();
            if let Some(first) = valid.first() {
                let names = first.measures.iter();
                medians.insert(peer, names.map(|measure| median(measure, &valid)).collect());
            }
        }
        Self { case, runs, medians }
    }

    /// The median of one figure of one peer.
    pub fn median(&self, peer: PeerKind, name: &str) -> Option<f64> {
        self.medians.get(&peer)?.iter().find(|measure| measure.name == name).map(|measure| measure.value)
    }
}

fn median(like: &Measure, runs: &[&Run]) -> Measure {
    let mut values: Vec<f64> = runs
        .iter()
        .flat_map(|run| &run.measures)
        .filter(|measure| measure.name == like.name)
        .map(|measure| measure.value)
        .collect();
    values.sort_by(f64::total_cmp);
    let upper = values.len() / 2;
    let lower = if values.len().is_multiple_of(2) { upper.saturating_sub(1) } else { upper };
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    Measure { value: (at(lower) + at(upper)) / 2.0, ..like.clone() }
}

impl Report {
    pub(crate) fn new(machine: Machine, args: BenchArgs, cases: Vec<CaseReport>) -> Self {
        // The goals are about the full cases. The quick ones have other names, so no goal applies
        // to them.
        let goals = goals::judge(&cases);
        Self { version: env!("CARGO_PKG_VERSION").into(), machine, args, cases, goals }
    }

    /// How many runs failed.
    pub fn failed(&self) -> usize {
        self.all_runs().filter(|run| matches!(run.outcome, Outcome::Failed(_))).count()
    }

    /// How many runs were made.
    pub fn runs(&self) -> usize {
        self.all_runs().filter(|run| !matches!(run.outcome, Outcome::Skipped(_))).count()
    }

    fn all_runs(&self) -> impl Iterator<Item = &Run> {
        self.cases.iter().flat_map(|case| &case.runs)
    }
}

impl Machine {
    /// Describes this machine.
    pub(crate) fn here(pinned: bool) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo").lines().find_map(|line| line.strip_prefix("model name").map(str::to_owned));
        Self {
            cpu: cpu.unwrap_or_default().trim_start_matches(['\t', ' ', ':']).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            pinned,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn run(peer: PeerKind, name: &str, value: f64) -> Run {
        Run { peer, measures: vec![Measure::new(name, "us", value)], notes: Vec::new(), outcome: Outcome::Valid }
    }

    #[test]
    fn medians_are_of_valid_runs_only() {
        let mut runs: Vec<Run> = [5.0, 1.0, 3.0].map(|value| run(PeerKind::Nats, "cpu", value)).into();
        runs.push(Run { outcome: Outcome::Failed("x".into()), ..run(PeerKind::Nats, "cpu", 1000.0) });
        let case = CaseReport::new("s1/100".into(), runs.clone());
        assert_eq!(case.median(PeerKind::Nats, "cpu"), Some(3.0));
        assert_eq!(case.median(PeerKind::Relay, "cpu"), None);
        runs.push(run(PeerKind::Nats, "cpu", 4.0));
        assert_eq!(CaseReport::new("s1/100".into(), runs).median(PeerKind::Nats, "cpu"), Some(3.5));
    }
}
