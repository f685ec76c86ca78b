#!/usr/bin/env bash
# Runs the long tests on optimised builds: the integration tests and the store's kills and power
# cuts in large numbers, isolation and forgetting at the broker, the properties with many cases, the
# fuzz targets for minutes, and the long form of the benchmark. It continues after a failure, prints
# the counts at the end, and fails if anything failed.
#   SOAK_STEPS="suite store broker properties fuzz bench"   which steps; all by default
#   SOAK_FUZZ_MINUTES=5                 minutes for each fuzz target
#   SOAK_CASES=20000                    cases of each property
#   SOAK_BENCH="--peers bridge,edge"    options of the benchmark
#   BRIDGE_SEED=n                       where random choices start, also those of the properties, to repeat
#                                       a run (the fuzz targets continue from their corpus)
set -euo pipefail
cd "$(dirname "$0")/.."

steps=${SOAK_STEPS:-suite store broker properties fuzz bench}
fuzz_minutes=${SOAK_FUZZ_MINUTES:-5}
cases=${SOAK_CASES:-20000}
read -ra bench_options <<<"${SOAK_BENCH:---peers bridge,edge}"
if [ -n "${BRIDGE_SEED:-}" ]; then export PROPTEST_RNG_SEED=$BRIDGE_SEED; fi
cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-target}

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
counts=()
failed=()

# Runs the rest of the arguments under a name, with a time limit; the output is shown and kept.
step() {
  local name=$1 limit=$2
  shift 2
  printf '\n== %s\n' "$name"
  if timeout --kill-after 30 "$limit" "$@" 2>&1 | tee "$logs/$name"; then return; fi
  failed+=("$name")
}

count() {
  local name=$1 line
  shift
  while IFS= read -r line; do counts+=("$name: $line"); done < <("$@" "$logs/$name" || true)
}

suite() {
  step suite 2h env BRIDGE_SOAK=1 "$cargo" test --release --locked --package agent-bridge --test suite -- --nocapture --test-threads 1
  count suite grep -oE '(crowd|kill rounds|stalled reader|takeover|siege|attack alone|attacks one by one|stuck durable reader|killed brokers): .*|[0-9]+ (kills|sessions x) .*|^test result.*'
}

store() {
  step store 2h env BRIDGE_SOAK=1 "$cargo" test --release --locked --package store --test sqlite -- --nocapture --test-threads 1
  count store grep -E 'kills,|power cuts,|^test result'
}

broker() {
  step broker 2h env BRIDGE_SOAK=1 PROPTEST_CASES=1000 "$cargo" test --release --locked --package websocket-server --test broker -- --nocapture --test-threads 1 \
    isolation forgotten
  count broker grep -E '^(isolation|forgotten sessions):|^  (before|full|after) |^test result'
}

properties() {
  step properties 2h env PROPTEST_CASES="$cases" "$cargo" test --release --locked --workspace --lib
  count properties grep '^test result'
}

fuzz() {
  if ! "$cargo" fuzz --version >/dev/null 2>&1; then
    echo "fuzzing needs cargo-fuzz: cargo install cargo-fuzz --locked" >&2
    failed+=(fuzz)
    return
  fi
  local one
  for one in fuzz/fuzz_targets/*.rs; do
    one=$(basename "$one" .rs)
    mkdir -p "fuzz/corpus/$one"
    # There is no unsafe code, so no sanitizer is needed, and the stable compiler will do.
    step "fuzz-$one" $((fuzz_minutes + 30))m "$cargo" fuzz run --sanitizer none "$one" "fuzz/corpus/$one" "fuzz/seeds/$one" -- \
      -max_total_time=$((fuzz_minutes * 60)) -max_len=8192
    count "fuzz-$one" grep '^Done '
  done
}

bench() {
  step bench-build 1h "$cargo" build --release --locked --workspace --bins
  step bench 2h "$target/release/bench" --long "${bench_options[@]}"
  count bench grep -E '^[0-9]+/[0-9]+ s[0-9]'
}

for one in $steps; do
  case $one in
  suite | store | broker | properties | fuzz | bench) "$one" ;;
  *) echo "unknown step: $one" >&2; exit 2 ;;
  esac
done

printf '\n== counts\n'
[ ${#counts[@]} -eq 0 ] || printf '%s\n' "${counts[@]}"
if [ ${#failed[@]} -gt 0 ]; then
  printf '\nfailed: %s\n' "${failed[*]}" >&2
  exit 1
fi
printf '\nall long tests passed\n'
