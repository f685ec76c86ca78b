"""Runs one conformance case against a daemon (tests/conformance/README.md)."""

import json
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed

from harness import wire
from harness.wire import Peer, Refused, Session

from .patterns import fill_in, matches, mismatch, spell_out

CASES = Path(__file__).resolve().parents[3] / "conformance"
WITHIN_S = 5
STEPS = ("send", "send_raw", "send_fragments", "send_bytes", "send_wire", "ping",
         "expect", "expect_all", "expect_close", "connect", "disconnect", "http")


def load_cases():
    """Every case of every file, by file and position."""
    for path in sorted(CASES.glob("*.json")):
        for case in json.loads(path.read_text())["cases"]:
            yield path.stem, case


def wait_until_empty(daemon):
    """Waits until the agents of the case before are gone."""
    probe = wire.session(daemon)
    try:
        deadline = time.monotonic() + WITHIN_S
        while True:
            probe.send({"id": "probe", "type": "agent:list"})
            agents = probe.expect("agent:listed")["payload"]["agents"]
            if not agents:
                return
            assert time.monotonic() < deadline, f"agents of an earlier case are still there: {agents}"
            time.sleep(0.005)
    finally:
        probe.close()


class CaseRun:
    def __init__(self, daemon, case):
        self.daemon = daemon
        self.case = case
        self.peers = {}
        self.sessions = {}
        self.variables = {"agent_key": daemon.agent_key}
        self.heard = []  # (peer, frame) in the order read, for the report of a failure

    def run(self):
        for name in sorted(self.case["peers"]):
            if self.case["peers"][name].get("connect", True):
                self.connect(name)
        for number, step in enumerate(self.case["steps"]):
            try:
                self.run_step(step)
            except Exception as error:
                heard = "\n".join(f"  {peer} <- {text[:600]}" for peer, text in self.heard[-12:])
                shown = json.dumps(step, ensure_ascii=False)[:600]
                raise AssertionError(f"step {number}: {shown}\n{error}\nframes read:\n{heard or '  none'}") from None

    def close(self):
        for peer in self.peers.values():
            peer.close()

    def run_step(self, step):
        kinds = [kind for kind in STEPS if kind in step]
        assert len(kinds) == 1, f"a step is one of {STEPS}"
        getattr(self, f"step_{kinds[0]}")(step)

    # Connecting

    def connect(self, name):
        spec = fill_in(self.case["peers"][name], self.variables)
        peer = getattr(self, f"open_{spec['kind']}")(name, spec)
        self.peers[name] = peer
        for field in ("connection_id", "agent_id", "session_id"):
            self.variables[f"{name}.{field}"] = peer.ack[field] if peer.ack else None

    def open_agent(self, _, spec):
        key = {"right": self.daemon.agent_key, "wrong": "not-" + self.daemon.agent_key, "none": None}[spec.get("key", "right")]
        scheme = {"bearer": "Bearer ", "plain": ""}[spec.get("scheme", "bearer")]
        headers = {} if key is None else {"authorization": scheme + key}
        query = f"?agent_id={quote(spec['agent_id'], safe='')}" if "agent_id" in spec else ""
        return Peer(self.daemon.url("broker", f"/ws/agent{query}"), headers, subprotocol=spec.get("subprotocol", False))

    def open_session(self, name, spec):
        session = self.sessions[spec["same_as"]] if "same_as" in spec else Session(self.daemon)
        self.sessions[name] = session
        self.variables[f"{name}.token"] = session.token
        path = {"id": f"/ws/{session.id}", "own": "/ws"}.get(spec.get("path", "id"), spec.get("path"))
        query = f"?agent={quote(spec['agent'], safe='')}" if "agent" in spec else ""
        headers = self.credentials(session, spec.get("credentials", "token"))
        return Peer(self.daemon.url("edge", path + query), headers, subprotocol=spec.get("subprotocol", False))

    def open_raw(self, _, spec):
        return Peer(self.daemon.url(spec["server"], spec["path"]), spec.get("headers", {}), raw=True)

    def credentials(self, session, kind):
        if kind.startswith("of:"):
            return self.sessions[kind.removeprefix("of:")].bearer
        return {
            "token": session.bearer,
            "cookie": {"cookie": session.cookie},
            "wrong": {"authorization": "Bearer not-" + session.token},
            "none": {},
        }[kind]

    def step_connect(self, step):
        if "expect_status" not in step:
            return self.connect(step["peer"])
        try:
            self.connect(step["peer"])
        except Refused as refused:
            assert refused.status == step["expect_status"], f"{refused}"
            if "expect_error" in step:
                assert refused.code == step["expect_error"], f"{refused}"
            return None
        raise AssertionError("the connection was accepted")

    def step_disconnect(self, step):
        code = self.peers[step["peer"]].close()
        assert code == 1000, f"the close was answered with {code}"

    # Sending. The server may close before it has everything; the next step that expects something
    # will say so.

    def step_send(self, step):
        with suppress(ConnectionClosed):
            for number in range(step.get("times", 1)):
                self.peers[step["peer"]].send(fill_in(step["send"], {**self.variables, "n": number}))

    def step_send_raw(self, step):
        with suppress(ConnectionClosed):
            for number in range(step.get("times", 1)):
                self.peers[step["peer"]].send_raw(spell_out(step["send_raw"], {**self.variables, "n": number}))

    def step_send_fragments(self, step):
        with suppress(ConnectionClosed):
            self.peers[step["peer"]].send_fragments(spell_out(step["send_fragments"], self.variables), step["count"])

    def step_send_bytes(self, step):
        self.peers[step["peer"]].send_bytes(bytes.fromhex(step["send_bytes"]), step["opcode"])

    def step_send_wire(self, step):
        self.peers[step["peer"]].send_wire(bytes.fromhex(step["send_wire"]))

    def step_ping(self, step):
        self.peers[step["peer"]].ping(step["ping"])

    # Receiving

    def step_expect(self, step):
        deadline = time.monotonic() + step.get("within_ms", WITHIN_S * 1000) / 1000
        contained = step.get("expect_raw_contains", [])
        contained = fill_in([contained] if isinstance(contained, str) else contained, self.variables)
        while True:
            frame, text = self.read(step["peer"], deadline)
            reason = mismatch(step["expect"], frame, self.variables)
            if reason is None:
                missing = [part for part in contained if part not in text]
                assert not missing, f"the frame's text does not contain {missing}: {text}"
                return
            assert self.may_be_skipped(frame, step), f"{reason}, in {text[:600]}"
            if "without" in step:
                assert not matches(step["without"], frame, self.variables), f"must not come: {text[:600]}"

    def step_expect_all(self, step):
        deadline = time.monotonic() + step.get("within_ms", WITHIN_S * 1000) / 1000
        wanted = list(step["expect_all"])
        while wanted:
            frame, text = self.read(step["peer"], deadline)
            found = next((pattern for pattern in wanted if matches(pattern, frame, self.variables)), None)
            if found is None:
                assert self.may_be_skipped(frame, step), f"matches none of {wanted}: {text[:600]}"
                continue
            mismatch(found, frame, self.variables)
            wanted.remove(found)

    def step_expect_close(self, step):
        code = self.peers[step["peer"]].wait_closed(step.get("within_ms", WITHIN_S * 1000) / 1000)
        assert code == step["expect_close"], f"closed with {code}"

    def step_http(self, step):
        request = fill_in(step["http"], self.variables)
        headers = dict(request.get("headers", {}))
        if "as" in request:
            headers |= self.sessions[request["as"]].bearer
        answer = self.daemon.request(request["server"], request["method"], request["path"], headers)
        assert answer.status == step["expect_status"], f"answered {answer.status}: {answer.body!r}"
        if "expect_body" in step:
            reason = mismatch(step["expect_body"], answer.json(), self.variables)
            assert reason is None, f"{reason}, in {answer.body!r}"

    def read(self, peer, deadline):
        frame, text = self.peers[peer].next_frame(max(0.001, deadline - time.monotonic()))
        self.heard.append((peer, text))
        return frame, text

    def may_be_skipped(self, frame, step):
        return wire.is_notice(frame) or ("skip" in step and matches(step["skip"], frame, self.variables))
