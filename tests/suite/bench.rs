//! The load generator runs in its smallest form and finds no fault.

use bench::{BenchArgs, PeerKind, Scenario};

use crate::harness::{PROGRAM, program};

#[test]
fn bench_measures_replies_and_finds_no_fault() {
    let report = bench::run(BenchArgs {
        quick: true,
        scenario: vec![Scenario::S2],
        peers: vec![PeerKind::Bridge],
        server: Some(PROGRAM.into()),
        no_pin: true,
        ..BenchArgs::default()
    })
    .expect("no run finds a fault");
    let measured: Vec<_> = report.cases.iter().map(|case| (case.case.as_str(), case.medians.len())).collect();
    assert!(measured.contains(&("s2/1", 1)), "{measured:?}");
}

#[test]
fn the_daemon_says_where_the_load_generator_is() {
    let output = program().args(["bench", "--quick", "--peers", "bridge"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("cargo run --release -p bench -- --quick --peers bridge"), "{told}");
}
