"""Every case of tests/dialects/*.json, with `websockets` as the client of the dialect."""

import base64
import hashlib
import hmac
import json
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

import jwt
import pytest

from conformance.patterns import fill_in, mismatch
from conformance.runner import CaseRun, STEPS, wait_until_empty
from harness.daemon import Daemon
from harness.wire import Peer

LOOP_QUIET_S = 1.0
FILES = sorted((Path(__file__).resolve().parents[2] / "dialects").glob("*.json"))


def load():
    for path in FILES:
        script = json.loads(path.read_text())
        for case in script["cases"]:
            yield pytest.param(path.stem, script.get("settings", {}), case, id=f"{path.stem}/{case['name']}")


@pytest.fixture(scope="module")
def daemons():
    """One daemon for each dialect, started when it is first needed."""
    running = {}

    def get(dialect, settings):
        if dialect not in running:
            flags = [f"--set={key}={value}" for key, value in settings.items()]
            running[dialect] = DialectDaemon(dialect, *flags)
        return running[dialect]

    yield get
    for daemon in running.values():
        daemon.stop()


class DialectDaemon(Daemon):
    """A daemon with one dialect on, on a port of its own."""

    def __init__(self, dialect, *flags):
        self.dialect = dialect
        super().__init__("--dialect", dialect, *flags, AGENT_BRIDGE_STORE__DEFAULT_DELIVERY="ephemeral")

    def start(self):
        variable = f"AGENT_BRIDGE_DIALECTS__{self.dialect.upper()}__ADDR"
        # Port 0 is the system's choice, and the daemon prints what it became.
        self.env = {**self.env, variable: "127.0.0.1:0"}
        super().start()
        lines = self.log_path.read_text().splitlines()
        addresses = [line.split()[-1] for line in lines if line.split()[:1] == [self.dialect]]
        self.ports[self.dialect] = int(addresses[-1].rsplit(":", 1)[1])

    def is_ready(self, server):
        return server == self.dialect or super().is_ready(server)


class DialectRun(CaseRun):
    def open_client(self, _, spec):
        return Peer(self.daemon.url(self.daemon.dialect, spec["path"]), spec.get("headers", {}), raw=True)

    def run_step(self, step):
        for kind in ("sign", "jwt", "loop"):
            if kind in step:
                return getattr(self, f"step_{kind}")(step)
        if "http" in step:
            return self.step_http(step)
        assert any(kind in step for kind in STEPS)
        return super().run_step(step)

    def step_sign(self, step):
        signed = fill_in(step["sign"], self.variables)
        text = signed["url"] + "".join(name + value for name, value in sorted(signed["form"].items()))
        digest = hmac.new(signed["token"].encode(), text.encode(), hashlib.sha1).digest()
        self.variables["signature"] = base64.b64encode(digest).decode()
        self.variables["form"] = urlencode(signed["form"])

    def step_jwt(self, step):
        wanted = step["jwt"]
        self.variables[wanted.get("as", "token")] = jwt.encode(wanted["claims"], wanted["secret"], algorithm="HS256")

    def step_loop(self, step):
        """Two clients answer every frame of a type with one of the same type, until nothing comes any more."""
        peers = [self.peers[name] for name in step["loop"]]
        frame, count = step["frame"], 0
        started = time.monotonic()
        peers[0].send(frame | {"source_mode": step["loop"][0]})
        turn, quiet = 1, False
        while not quiet:
            try:
                received, _ = peers[turn].next_frame(LOOP_QUIET_S)
            except AssertionError:
                quiet = True
                continue
            if received["type"] != frame["type"]:
                continue
            count += 1
            assert count <= step["most"], f"still going on after {count} frames"
            peers[turn].send(frame | {"source_mode": step["loop"][turn]})
            turn = 1 - turn
        spent = time.monotonic() - started - LOOP_QUIET_S
        assert spent < step.get("within_s", 10), f"{count} frames in {spent} s"

    def step_http(self, step):
        request = fill_in(step["http"], self.variables)
        headers = dict(request.get("headers", {}))
        if "as" in request:
            headers |= self.sessions[request["as"]].bearer
        answers = []

        def ask():
            body = request.get("body")
            body = json.dumps(body) if isinstance(body, (dict, list)) else body
            answers.append(self.daemon.request(request["server"], request["method"], request["path"], headers, body=body))

        asking = threading.Thread(target=ask)
        asking.start()
        for meanwhile in step.get("meanwhile", []):
            self.run_step(meanwhile)
        asking.join(30)
        assert answers, "no answer"
        answer = answers[0]
        assert answer.status == step["expect_status"], f"answered {answer.status}: {answer.body!r}"
        if "expect_text" in step:
            assert answer.body.decode() == fill_in(step["expect_text"], self.variables)
        if "expect_body" in step:
            reason = mismatch(step["expect_body"], answer.json(), self.variables)
            assert reason is None, f"{reason}, in {answer.body!r}"


@pytest.mark.parametrize(("dialect", "settings", "case"), list(load()))
def test_case(daemons, dialect, settings, case):
    daemon = daemons(dialect, settings)
    wait_until_empty(daemon)
    run = DialectRun(daemon, case)
    try:
        run.run()
    finally:
        run.close()
