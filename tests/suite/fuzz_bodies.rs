//! The short form of the fuzz targets: their seeds, and seeds with random changes, not guided by
//! coverage. `make soak` runs the real fuzzing.

use std::{fs, path::Path};

use crate::{
    fuzz,
    harness::{Chance, scaled},
};

/// Runs `body` on every seed and on changed ones. A failing input is printed.
fn run(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder).expect("there are seeds").map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("readable")).collect();
    assert!(!seeds.is_empty());

    let mut chance = Chance::from_environment(target);
    let changed = std::iter::repeat_with(|| change(&seeds, &mut chance)).take(scaled(10_000, 2_000_000));
    for input in seeds.iter().cloned().chain(changed) {
        let outcome = std::panic::catch_unwind(|| body(&input));
        assert!(outcome.is_ok(), "the input was {:?}", String::from_utf8_lossy(&input));
    }
}

/// A seed with a few changes: bytes replaced, inserted and removed, parts of other seeds inserted.
fn change(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut input = seeds[chance.below(seeds.len())].clone();
    for _ in 0..=chance.below(4) {
        let at = chance.below(input.len() + 1);
        let end = (at + chance.below(8)).min(input.len());
        let byte = chance.next().to_le_bytes()[0];
        match chance.below(5) {
            0 => input.insert(at, byte),
            1 => drop(input.drain(at..end)),
            2 => input.iter_mut().skip(at).take(1).for_each(|old| *old = byte),
            3 => input.iter_mut().skip(at).take(1).for_each(|old| *old ^= 1 << (byte % 8)),
            _ => {
                let other = &seeds[chance.below(seeds.len())];
                let from = chance.below(other.len() + 1);
                let part = &other[from..(from + chance.below(64)).min(other.len())];
                input.splice(at..at, part.iter().copied());
            }
        }
    }
    input
}

#[test]
fn messages_do_not_depend_on_how_the_bytes_come() {
    run("frames", fuzz::frames);
}

#[test]
fn every_byte_is_in_a_frame_or_kept() {
    run("raw_frames", fuzz::raw_frames);
}

#[test]
fn a_stamp_changes_nothing_but_what_it_stamps() {
    run("envelope", fuzz::envelope);
}

#[test]
fn a_wallets_message_round_trips_and_logs_no_one_in_unsigned() {
    run("wallet_message", fuzz::wallet_message);
}

#[test]
fn only_what_the_issuer_signed_is_a_token() {
    run("token", fuzz::token);
}

#[test]
fn a_key_set_is_read_within_its_bounds() {
    run("key_set", fuzz::key_set);
}

#[test]
fn credentials_are_found_where_they_are() {
    run("credentials", fuzz::credentials);
}

#[test]
fn an_address_is_written_as_it_was_read() {
    run("address", fuzz::address);
}

#[test]
fn only_trusted_proxies_name_the_client() {
    run("proxies", fuzz::proxies);
}

#[test]
fn only_signed_assertions_are_accepted() {
    run("assertion", fuzz::assertion);
}

#[test]
fn only_a_whole_key_is_accepted() {
    run("agent_key", fuzz::agent_key);
}

#[test]
fn requests_of_peers_are_parsed_within_bounds() {
    run("asks", fuzz::asks);
}

#[test]
fn nobody_claims_what_the_bridge_says_of_a_hybrid_message() {
    run("hybrid", fuzz::hybrid);
}

#[test]
fn supervisor_clients_recognise_every_answer() {
    run("supervisor", fuzz::supervisor);
}

#[test]
fn requests_for_files_stay_within_the_app_and_the_file() {
    run("assets", fuzz::assets);
}

#[test]
fn unsigned_login_bodies_log_no_one_in() {
    run("login_bodies", fuzz::login_bodies);
}
