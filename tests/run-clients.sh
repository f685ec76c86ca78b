#!/usr/bin/env bash
# Runs the tests with clients of other languages:
#   node    the modules of the page, `ws`, the examples, the page in Chromium
#   wallet  viem, ethers, siwe, jose
#   python  `websockets`, the examples, the conformance cases
# Run tests/install.sh first. This script builds the daemon, unless AGENT_BRIDGE_BIN names one.
#   AGENT_BRIDGE_SCREENSHOTS=folder   keeps pictures of the first page
#   AGENT_BRIDGE_TEST_LOG=debug       what the daemons log
set -euo pipefail
cd "$(dirname "$0")"

SUITE_TIMEOUT=${SUITE_TIMEOUT:-600}

node_folders="clients/node clients/node/wallet ../examples/node"
for needed in $(printf '%s/node_modules/.installed ' $node_folders) .venv/.installed; do
  [ -f "$needed" ] || { echo "run tests/install.sh first ($needed is missing)" >&2; exit 1; }
done

if [ -z "${AGENT_BRIDGE_BIN:-}" ]; then
  (cd .. && "${CARGO:-cargo}" build --locked --bin agent-bridge)
  AGENT_BRIDGE_BIN=${CARGO_TARGET_DIR:-$PWD/../target}/debug/agent-bridge
fi
AGENT_BRIDGE_BIN=$(realpath "$AGENT_BRIDGE_BIN")
export AGENT_BRIDGE_BIN

output=$(mktemp -d)
# Temporary files of the suites are removed with the rest, also after an interruption.
mkdir "$output/tmp"
export TMPDIR=$output/tmp
declare -A suites=()

# Each suite is a process group of its own, so that all of its processes end with it.
end_suites() {
  for pid in "${suites[@]}"; do kill -KILL -- "-$pid" 2>/dev/null || true; done
  rm -rf "$output"
}
trap end_suites EXIT
trap 'exit 130' INT TERM

start() {
  local name=$1 folder=$2
  shift 2
  (cd "$folder" && exec setsid timeout "$SUITE_TIMEOUT" "$@") >"$output/$name" 2>&1 &
  suites[$name]=$!
}

start node clients/node npm test --silent
start wallet clients/node/wallet npm test --silent
start python clients/python ../../.venv/bin/pytest

failed=()
for name in node wallet python; do
  if wait "${suites[$name]}"; then result=passed; else result=FAILED; failed+=("$name"); fi
  unset "suites[$name]"
  printf '\n== %s: %s\n' "$name" "$result"
  cat "$output/$name"
done

if [ ${#failed[@]} -gt 0 ]; then
  printf '\nfailed: %s\n' "${failed[*]}" >&2
  exit 1
fi
printf '\nall suites passed\n'
