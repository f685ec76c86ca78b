//! The goals of the project, and whether a report meets them.

use serde::{Deserialize, Serialize};

use super::CaseReport;
use crate::args::PeerKind::{self, Bridge, Edge, Nats, Relay};

/// The bound that a figure is compared with.
#[derive(Clone, Copy)]
enum Bound {
    /// At most this many times the other peer's.
    Times(PeerKind, f64),
    /// At least this many times the other peer's.
    AtLeastTimes(PeerKind, f64),
    /// At most the other peer's plus this much.
    Plus(PeerKind, f64),
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

/// The cases of a goal (a prefix of their names), the peer, the figure and its bound.
type Goal = (&'static str, PeerKind, &'static str, Bound);

const GOALS: &[Goal] = &[
    ("s1/100", Bridge, "cpu", Bound::Times(Nats, 1.0)),
    ("s1p/100", Bridge, "cpu", Bound::Times(Relay, 1.2)),
    ("s2/100", Bridge, "cpu", Bound::Times(Relay, 1.3)),
    ("s2/1@1000", Bridge, "p50", Bound::Plus(Relay, 15.0)),
    ("s2/1@1000", Bridge, "p99", Bound::Plus(Relay, 50.0)),
    ("s2/100@1000", Bridge, "p50", Bound::Plus(Relay, 15.0)),
    ("s2/100@1000", Bridge, "p99", Bound::Plus(Relay, 50.0)),
    ("s3/200", Bridge, "cpu", Bound::Times(Relay, 1.25)),
    ("s3/200", Bridge, "p99", Bound::Times(Relay, 1.3)),
    ("s4/5000", Bridge, "memory", Bound::AtMost(12.0)),
    ("s4/19500", Bridge, "memory", Bound::AtMost(12.0)),
    ("s4/5000", Bridge, "connects", Bound::AtLeast(15_000.0)),
    ("s4/19500", Bridge, "connects", Bound::AtLeast(15_000.0)),
    ("s5/100", Bridge, "kept", Bound::AtLeast(95.0)),
    ("s5/100", Bridge, "peak_memory", Bound::AtMost(40.0)),
    ("s6/10", Bridge, "cpu_per_gb", Bound::Times(Nats, 0.8)),
    ("s1/1000", Bridge, "cpu", Bound::Times(Nats, 1.0)),
    ("d1/64x1/process", Bridge, "rate", Bound::AtLeastTimes(Nats, 1.0)),
    ("d1/64x1/fsync", Bridge, "rate", Bound::AtLeastTimes(Nats, 1.0)),
    ("d1/64x16/process", Bridge, "rate", Bound::AtLeastTimes(Nats, 1.0)),
    ("d1/64x16/fsync", Bridge, "rate", Bound::AtLeastTimes(Nats, 1.0)),
    ("s1/100", Edge, "cpu", Bound::Times(Bridge, 2.2)),
    ("s1/1000", Edge, "cpu", Bound::Times(Bridge, 2.2)),
    ("s1p/100", Edge, "cpu", Bound::Times(Bridge, 2.2)),
    ("s2/100", Edge, "cpu", Bound::Times(Bridge, 2.2)),
    ("s3/200", Edge, "cpu", Bound::Times(Bridge, 2.2)),
    ("s6/10", Edge, "cpu_per_gb", Bound::Times(Bridge, 2.2)),
];

/// The result for one goal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoalResult {
    /// The case.
    pub case: String,
    /// The peer that must meet it.
    pub peer: PeerKind,
    /// The figure.
    pub measure: String,
    /// The goal in words.
    pub goal: String,
    /// The figure, in the terms of the goal (a factor, a difference or the value itself).
    pub reached: f64,
    /// Whether it was met.
    pub met: bool,
}

/// Evaluates every goal whose case and peers are in `cases`.
pub(super) fn judge(cases: &[CaseReport]) -> Vec<GoalResult> {
    GOALS.iter().filter_map(|goal| cases.iter().find(|case| case.case == goal.0).and_then(|case| one(case, goal))).collect()
}

fn one(case: &CaseReport, &(_, peer, measure, bound): &Goal) -> Option<GoalResult> {
    let value = case.median(peer, measure)?;
    let (goal, reached, met) = match bound {
        Bound::Times(other, factor) => {
            let reached = value / case.median(other, measure)?;
            (format!("at most {factor} x {}", other.name()), reached, reached <= factor)
        }
        Bound::AtLeastTimes(other, factor) => {
            let reached = value / case.median(other, measure)?;
            (format!("at least {factor} x {}", other.name()), reached, reached >= factor)
        }
        Bound::Plus(other, more) => {
            let reached = value - case.median(other, measure)?;
            (format!("at most {} + {more} us", other.name()), reached, reached <= more)
        }
        Bound::AtMost(most) => (format!("at most {most}"), value, value <= most),
        Bound::AtLeast(least) => (format!("at least {least}"), value, value >= least),
    };
    Some(GoalResult { case: case.case.clone(), peer, measure: measure.into(), goal, reached, met })
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;

    #[test]
    fn a_goal_is_judged_where_both_peers_were_measured() {
        let runs = vec![run(Bridge, "cpu", 0.3), run(Nats, "cpu", 0.2)];
        let verdicts = judge(&[CaseReport::new("s1/100".into(), runs)]);
        assert_eq!(verdicts.len(), 1);
        assert!(!verdicts[0].met);
        assert!((verdicts[0].reached - 1.5).abs() < 1e-9);
        let alone = CaseReport::new("s1/100".into(), vec![run(Bridge, "cpu", 0.3)]);
        assert!(judge(&[alone]).is_empty());
    }
}
