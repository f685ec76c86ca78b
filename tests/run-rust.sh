#!/usr/bin/env bash
# Runs all Rust tests, and says at the end which of them could not run here, and why. Options are
# passed to `cargo test`.
#   TEST_TIMEOUT=1800   seconds after which a run that hangs fails
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
timeout "${TEST_TIMEOUT:-1800}" "${CARGO:-cargo}" test --workspace --locked "$@" 2>&1 | tee "$log"

# A test that cannot run here writes such a line, and passes.
skipped=$(grep -oE 'skipped: [a-z0-9_]+: .*' "$log" | sort -u || true)
if [ -n "$skipped" ]; then
    printf '\n%s of the tests that passed were skipped:\n%s\n' "$(wc -l <<<"$skipped")" "$skipped"
else
    printf '\nno test was skipped\n'
fi
