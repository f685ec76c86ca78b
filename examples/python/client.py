"""A client that asks an agent, or listens to a topic.

    pip install websockets
    python client.py ask "hello bridge"       # waits for the answer of agent:upper
    python client.py listen upper/log         # prints the topic from where the last run stopped

Environment: BRIDGE_EDGE (http://127.0.0.1:8081), BRIDGE_STATE (bridge-client.json).

The state file holds the session and the positions up to which messages were processed. It is secret:
whoever has the token can use the session.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from bridge import Connection, Final, Lost, TooLong

EDGE = os.environ.get("BRIDGE_EDGE", "http://127.0.0.1:8081")
STATE = Path(os.environ.get("BRIDGE_STATE", "bridge-client.json"))


class State:
    """What outlives this program: the session, and a position for each channel."""

    def __init__(self):
        kept = json.loads(STATE.read_text()) if STATE.exists() else {}
        self.token = kept.get("token")
        self.positions = kept.get("positions", {})

    def note(self, frame):
        """The message was processed: after a restart, continue behind it."""
        self.positions[frame["channel"]] = {"epoch": frame["epoch"], "seq": frame["seq"]}
        self.save()

    def save(self):
        new = STATE.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps({"token": self.token, "positions": self.positions}))
        new.replace(STATE)  # a crash leaves the old file or the new one, never half of one

    async def target(self):
        """Gets the session, or a new one, and says where to dial."""
        session = await asyncio.to_thread(self.request_session)
        if session["token"] and session["token"] != self.token:
            self.token = session["token"]
            self.save()
        # With resume=true the inbox waits until `connection:resume` has told the positions.
        url = f"{EDGE.replace('http', 'ws', 1)}/ws/{session['client_id']}?ack=explicit&resume=true"
        return url, {"Authorization": f"Bearer {self.token}"}

    def request_session(self):
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        request = urllib.request.Request(f"{EDGE}/api/client", method="POST", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refusal:
            if refusal.code == 429 or refusal.code >= 500:
                raise  # temporary: tried again
            if refusal.code != 401 or self.token is None:
                raise Final(f"HTTP {refusal.code}: {refusal.read().decode()}") from None
        self.token = None  # the session has ended: begin a new one
        return self.request_session()

    def resume(self, topic=None):
        """Continues in the inbox and in the topic behind what was processed."""
        wanted = {
            channel: position
            for channel, position in self.positions.items()
            if channel == topic or not channel.startswith("topic:")
        }
        return {"id": "resume", "type": "connection:resume", "payload": {"channels": wanted}}


async def ask(state, agent, text):
    connection = Connection(state.target)
    question = {
        "id": str(uuid.uuid4()),
        "type": "message:send",
        "target": f"agent:{agent}",
        "delivery": "durable",
        "payload": {"text": text},
    }
    stored = False
    async for frame in connection.frames():
        is_mine = frame.get("correlation_id") == question["id"]
        # If the connection is lost, the next one begins with `connection:ack` again.
        with contextlib.suppress(Lost):
            match frame["type"]:
                case "connection:ack":
                    await connection.send(state.resume())
                    if not stored:
                        # With the same id: if it was stored before, it is not delivered twice.
                        await connection.send(question)
                case "message:accepted" if is_mine:
                    stored = True
                case "system:error" if is_mine and frame["payload"]["temporary"]:
                    # For instance, the agent is not connected. Try again in a while.
                    print(frame["payload"]["message"], file=sys.stderr, flush=True)
                    await asyncio.sleep(frame["payload"].get("retry_after_ms", 1000) / 1000)
                    await connection.send(question)
                case "system:error" | "message:error" if is_mine:
                    raise Final(f"{frame['payload']['code']}: {frame['payload']['message']}")
            await processed(connection, state, frame)
        if is_mine and frame["type"] == "message:done":
            return frame["payload"]["text"]


async def listen(state, topic):
    connection = Connection(state.target)
    async for frame in connection.frames():
        with contextlib.suppress(Lost):
            match frame["type"]:
                case "connection:ack":
                    await connection.send(state.resume(topic))
                    if topic not in state.positions:
                        start = {"topic": topic, "from": {"seq": 0}}  # from the beginning of the log
                        await connection.send({"id": "subscribe", "type": "topic:subscribe", "payload": start})
                case "connection:resumed" | "topic:subscribed" | "system:lost" | "system:error":
                    report(topic, frame)
                case _ if frame.get("channel") == topic and "seq" in frame:
                    print(json.dumps(frame["payload"], ensure_ascii=False), flush=True)
            await processed(connection, state, frame)


async def processed(connection, state, frame):
    """A durable message was processed: acknowledge it, if it is of an inbox, and note its position."""
    if "seq" not in frame:
        return
    state.note(frame)
    if frame["channel"].startswith(("session:", "user:")):
        payload = {"channel": frame["channel"], "seqs": [frame["seq"]]}
        await connection.send({"type": "message:ack", "payload": payload})


def report(topic, frame):
    """Says so if messages of the topic are lost, for instance to retention."""
    payload = frame["payload"]
    outcome = payload.get("channels", {}).get(topic, payload)
    if frame["type"].startswith("system:") or outcome.get("recovered") is False:
        print(f"{frame['type']}: {json.dumps(outcome)}", flush=True)


async def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    asking = commands.add_parser("ask")
    asking.add_argument("text")
    asking.add_argument("--agent", default="upper")
    commands.add_parser("listen").add_argument("topic")
    chosen = parser.parse_args()
    if chosen.command == "ask":
        print(await ask(State(), chosen.agent, chosen.text))
    else:
        await listen(State(), f"topic:{chosen.topic}")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (Final, TooLong) as fault:
        raise SystemExit(str(fault)) from None
    except KeyboardInterrupt:
        pass
