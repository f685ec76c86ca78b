//! The report as text.

use std::fmt;

use super::{CaseReport, Outcome, Report};
use crate::args::PeerKind;

/// Figures that show whether the others are valid. Their ratios are not shown.
const CONTEXT: [&str; 3] = ["server_load", "generator", "disturbance"];
/// Ratios that are shown if both peers were measured.
const RATIOS: [(PeerKind, PeerKind); 4] = [
    (PeerKind::Tls, PeerKind::Bridge),
    (PeerKind::Bridge, PeerKind::Nats),
    (PeerKind::Bridge, PeerKind::Relay),
    (PeerKind::Edge, PeerKind::Bridge),
];

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        let pinned = if machine.pinned { "server and generator on a core each" } else { "not pinned: figures mean little" };
        writeln!(
            out,
            "{}, {} cores, Linux {}, {pinned}; medians of {} run(s)",
            machine.cpu,
            machine.cores,
            machine.kernel,
            self.args.repeats.max(1)
        )?;
        self.cases.iter().try_for_each(|case| write_case(out, case))?;
        if !self.goals.is_empty() {
            writeln!(out, "\ngoals")?;
        }
        for goal in &self.goals {
            let verdict = if goal.met { "met   " } else { "MISSED" };
            let reached = figure(goal.reached);
            writeln!(
                out,
                "  {verdict} {:<12} {:<7} {:<12} {reached:>10}   {}",
                goal.case,
                goal.peer.name(),
                goal.measure,
                goal.goal
            )?;
        }
        Ok(())
    }
}

fn write_case(out: &mut fmt::Formatter<'_>, case: &CaseReport) -> fmt::Result {
    let peers: Vec<PeerKind> = case.medians.keys().copied().collect();
    let ratios: Vec<_> = RATIOS.into_iter().filter(|(one, other)| peers.contains(one) && peers.contains(other)).collect();
    write!(out, "\n{:<36}", case.case)?;
    for peer in &peers {
        write!(out, "{:>12}", peer.name())?;
    }
    for (one, other) in &ratios {
        write!(out, "{:>14}", format!("{}/{}", one.name(), other.name()))?;
    }
    writeln!(out)?;
    let rows = case.medians.values().next().map(Vec::as_slice).unwrap_or_default();
    for row in rows {
        write!(out, "  {:<34}", format!("{}, {}", row.name, row.unit))?;
        for &peer in &peers {
            write!(out, "{:>12}", case.median(peer, &row.name).map(figure).unwrap_or_default())?;
        }
        for &(one, other) in ratios.iter().filter(|_| !CONTEXT.contains(&row.name.as_str())) {
            let ratio = case.median(one, &row.name).zip(case.median(other, &row.name)).map(|(one, other)| one / other);
            write!(out, "{:>14}", ratio.filter(|ratio| ratio.is_finite()).map(figure).unwrap_or_default())?;
        }
        writeln!(out)?;
    }
    for run in &case.runs {
        for note in &run.notes {
            writeln!(out, "  {}: {note}", run.peer.name())?;
        }
        match &run.outcome {
            Outcome::Valid => {}
            Outcome::Skipped(reason) => writeln!(out, "  {}: not run: {reason}", run.peer.name())?,
            Outcome::Failed(reason) => writeln!(out, "  {}: FAILED: {reason}", run.peer.name())?,
        }
    }
    Ok(())
}

/// A number with three significant digits, or a whole number.
fn figure(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 => format!("{value:.3}"),
        medium if medium < 1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::super::{Machine, Report};
    use super::*;
    use crate::args::BenchArgs;

    #[test]
    fn the_table_shows_figures_ratios_and_failures() {
        let mut runs = vec![run(PeerKind::Bridge, "cpu", 0.4), run(PeerKind::Nats, "cpu", 0.2)];
        let failed = Outcome::Failed("gone".into());
        runs.push(super::super::Run { outcome: failed, measures: Vec::new(), ..run(PeerKind::Relay, "cpu", 0.0) });
        let cases = vec![CaseReport::new("s1/100".into(), runs)];
        let report = Report::new(Machine::here(false), BenchArgs::default(), cases);
        let text = report.to_string();
        for piece in ["bridge/nats", "0.400", "2.000", "relay: FAILED: gone", "MISSED s1/100"] {
            assert!(text.contains(piece), "{piece} in {text}");
        }
        assert_eq!((report.failed(), report.runs()), (1, 3));
    }
}
