//! The load generator works and finds no fault, in its smallest form.

use crate::harness::program;

#[test]
fn bench_measures_replies_and_finds_no_fault() {
    let output =
        program().args(["bench", "--quick", "--scenario", "s2", "--peers", "bridge", "--no-pin"]).output().expect("runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("s2/1"), "{told}");
}
