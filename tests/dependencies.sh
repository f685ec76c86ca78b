#!/usr/bin/env bash
# Licences, duplicates and sources of all dependencies, as deny.toml allows them; and known faults
# of them, where the database of RustSec can be fetched. Without cargo-deny nothing is checked.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo deny --version > /dev/null 2>&1; then
    echo "cargo-deny is not installed: dependencies were not checked"
    exit 0
fi
cargo deny --locked check licenses bans sources
if cargo deny --locked fetch db > /dev/null 2>&1; then
    cargo deny --locked check --disable-fetch advisories
else
    echo "the database of RustSec cannot be had: known faults of dependencies were not looked for"
fi
