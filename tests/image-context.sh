#!/usr/bin/env bash
# Checks that the image can be built from the files that `docker build` would send. It copies those
# files to an empty folder, by the rules of .dockerignore and the COPY lines of the Dockerfile's
# first stage, and type-checks there what the Dockerfile builds. It needs no docker engine.
#   CARGO_TARGET_DIR   where dependencies are already built; target/ of this clone by default
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'image context: %s\n' "$*" >&2; exit 1; }

cargo=${CARGO:-cargo}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")

# The image brings its own toolchain, so that rust-toolchain.toml stays out of it.
pinned=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
grep -q "^FROM rust:$pinned-" Dockerfile || fail "the Dockerfile does not build with Rust $pinned"

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
python3 tests/image_context.py "$context"

build=$(grep -oE 'cargo build [^&\\]*' Dockerfile) || fail "the Dockerfile has no 'cargo build'"
read -ra options <<<"${build#cargo build }"
# A check shares its compiled dependencies with clippy; an optimised build would not.
checked=()
for option in "${options[@]}"; do [ "$option" = --release ] || checked+=("$option"); done
cd "$context"
RUSTUP_TOOLCHAIN=$pinned CARGO_TARGET_DIR=$target "$cargo" check --quiet "${checked[@]}"
printf 'image context: %s files, and %s works with them\n' "$(find . -type f | wc -l)" "'$build'"
