#!/usr/bin/env bash
# Installs what the tests of the clients and the comparing benchmark need, on Debian. What is there
# already is left alone. It installs:
#   system packages: chromium, nats-server, pebble (a certificate authority for tests), and if they are
#     missing node, npm and python3-venv (needs root or sudo)
#   node_modules in tests/clients/node, tests/clients/node/wallet and examples/node, from package-lock.json
#   tests/.venv from tests/clients/python/requirements.txt
set -euo pipefail
cd "$(dirname "$0")"

NODE_AT_LEAST=20.19.0
node_folder=clients/node
# The libraries of wallets are large and for one suite only.
wallet_folder=clients/node/wallet
examples_folder=../examples/node
requirements=clients/python/requirements.txt
venv=.venv

say() { printf 'install: %s\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

install_packages() {
  local missing=()
  [ -x /usr/bin/chromium ] || missing+=(chromium)
  [ -x /usr/sbin/nats-server ] || command -v nats-server >/dev/null || missing+=(nats-server)
  command -v pebble >/dev/null || missing+=(pebble)
  command -v node >/dev/null || missing+=(nodejs)
  command -v npm >/dev/null || missing+=(npm)
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  [ ${#missing[@]} -eq 0 ] && return
  command -v apt-get >/dev/null || fail "missing: ${missing[*]}; this is not Debian, install them by hand"
  say "system packages: ${missing[*]}"
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

check_node() {
  local have lowest
  have=$(node --version | tr -d v)
  lowest=$(printf '%s\n' "$have" "$NODE_AT_LEAST" | sort --version-sort | head -n 1)
  [ "$lowest" = "$NODE_AT_LEAST" ] || fail "node is $have; the tests need $NODE_AT_LEAST or newer"
}

# Runs the rest of the arguments unless `stamp` holds the text `wanted`, then writes it there.
once() {
  local stamp=$1 wanted=$2
  shift 2
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return; fi
  "$@"
  printf '%s' "$wanted" >"$stamp"
}

install_node_modules() {
  say "node packages of $1"
  (cd "$1" && npm ci --no-audit --no-fund)
}

install_venv() {
  say "python packages"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements"
}

install_packages
check_node
for folder in "$node_folder" "$wallet_folder" "$examples_folder"; do
  once "$folder/node_modules/.installed" "$(node --version) $(sha256sum <"$folder/package-lock.json")" install_node_modules "$folder"
done
once "$venv/.installed" "$(python3 --version) $(sha256sum <"$requirements")" install_venv
say "everything is there"
