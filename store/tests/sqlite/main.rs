//! What is specific to the store in a file: crashes, power cuts, full disks, and operators'
//! commands.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[allow(dead_code, reason = "each suite uses its part")]
#[path = "../../../tests/suite/harness/chance.rs"]
mod chance;
mod damage;
mod damaged_numbers;
mod fault_disk;
mod faults;
mod files;
mod kill;
mod missing;
mod older;
mod operators;
mod power_cut;
mod small_disk;
mod writing;
