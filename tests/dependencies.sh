#!/usr/bin/env bash
# Licences, duplicates and sources of all dependencies, as deny.toml allows them, and their known
# vulnerabilities. The list of these comes from the RustSec database. If it cannot be fetched, an
# earlier copy is used; without a copy the last line says that they were not checked.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo deny --version > /dev/null 2>&1; then
    echo "dependencies: NOT CHECKED, because cargo-deny is not installed (cargo install cargo-deny --locked)"
    exit 0
fi
cargo deny --locked check licenses bans sources

copies=(${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/advisory-db-*/.git)
if cargo deny --locked fetch db > /dev/null 2>&1; then
    cargo deny --locked check --disable-fetch advisories
elif [ -e "${copies[0]}" ]; then
    echo "dependencies: the RustSec database cannot be fetched; the copy of $(date -r "${copies[0]}" +%F) is used"
    cargo deny --locked check --disable-fetch advisories
else
    echo "dependencies: known vulnerabilities NOT CHECKED, because the RustSec database cannot be fetched"
fi
