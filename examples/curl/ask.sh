#!/bin/sh
# Asks an agent with nothing but curl, and prints the agent's message.
#
#     examples/curl/ask.sh "hello bridge" [AGENT]
#
# Environment: BRIDGE_EDGE (http://127.0.0.1:8081), BRIDGE_TOKEN (a session's token; without it the
# caller gets a session of its own).
set -eu

EDGE=${BRIDGE_EDGE:-http://127.0.0.1:8081}
TEXT=${1:?usage: ask.sh TEXT [AGENT]}
AGENT=${2:-upper}

if [ -z "${BRIDGE_TOKEN:-}" ]; then
  BRIDGE_TOKEN=$(curl -sf -X POST "$EDGE/api/client" | sed 's/.*"token":"\([^"]*\)".*/\1/')
fi

# A quotation mark or a backslash in the text would end its string.
TEXT=$(printf '%s' "$TEXT" | sed 's/[\\"]/\\&/g')
BODY="{\"target\":\"agent:$AGENT\",\"payload\":{\"text\":\"$TEXT\"},\"wait_ms\":10000}"

# With the same key the agent is asked once, however often this is repeated.
KEY=$(date +%s)-$$
for attempt in 1 2 3 4 5; do
  if curl -s --fail-with-body --max-time 15 "$EDGE/api/v1/request" -H "Authorization: Bearer $BRIDGE_TOKEN" \
      -H "Idempotency-Key: $KEY" -d "$BODY"; then
    echo
    exit 0
  fi
  echo >&2
  sleep 1
done
exit 1
