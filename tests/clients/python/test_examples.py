"""The programs of examples/python at a running bridge: they answer, reconnect, acknowledge and resume."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from harness.daemon import ROOT, Daemon

EXAMPLES = ROOT / "examples/python"
WITHIN_S = 30
LIMITS = {"AGENT_BRIDGE_LIMITS__MAX_CLIENT_FRAME_BYTES": "32KiB"}


@pytest.fixture
def bridge():
    running = Daemon(**LIMITS)
    yield running
    running.stop()


@pytest.fixture
def run(bridge, tmp_path):
    """Starts an example; what is left running ends with the test."""
    started = []

    def start(*arguments, state="state"):
        program = Program(bridge, tmp_path, f"{len(started)}", state, arguments)
        started.append(program)
        return program

    yield start
    for program in started:
        program.kill()


class Program:
    def __init__(self, bridge, folder, name, state, arguments):
        self.output = folder / f"{name}.out"
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "BRIDGE_BROKER": bridge.url("broker", ""),
            "BRIDGE_EDGE": bridge.url("edge", "").replace("ws:", "http:"),
            "BRIDGE_STATE": str(folder / f"{state}.json"),
            "AGENT_TOKEN": bridge.agent_key,
        }
        command = [sys.executable, str(EXAMPLES / arguments[0]), *arguments[1:]]
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    def lines(self):
        return self.output.read_text().splitlines()

    def wait_for(self, line, times=1):
        deadline = time.monotonic() + WITHIN_S
        while self.lines().count(line) < times:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.lines()}"
            assert time.monotonic() < deadline, f"no {line!r} in time: {self.lines()}"
            time.sleep(0.02)

    def result(self):
        """Its exit code and what it printed last, once it has ended."""
        return self.process.wait(WITHIN_S), (self.lines() or [""])[-1]

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()


CONNECTED = "connected as agent:upper"


def entry(text):
    return json.dumps({"text": text})


def test_the_agent_answers_the_client(run):
    run("agent.py").wait_for(CONNECTED)
    assert run("client.py", "ask", "hello bridge").result() == (0, "HELLO BRIDGE")


def test_a_question_waits_for_an_absent_agent(run):
    agent = run("agent.py")
    agent.wait_for(CONNECTED)
    agent.kill()
    question = run("client.py", "ask", "are you there?")
    run("agent.py").wait_for(CONNECTED)
    assert question.result() == (0, "ARE YOU THERE?")


def test_after_kill_9_of_the_bridge_everything_continues_where_it_was(bridge, run):
    agent = run("agent.py")
    agent.wait_for(CONNECTED)
    listener = run("client.py", "listen", "upper/log", state="listener")
    assert run("client.py", "ask", "one").result() == (0, "ONE")
    listener.wait_for(entry("ONE"))
    bridge.signal(signal.SIGKILL)
    bridge.wait()
    # This question is asked while there is no bridge.
    question = run("client.py", "ask", "two")
    bridge.start()
    assert question.result() == (0, "TWO")
    agent.wait_for(CONNECTED, times=2)
    listener.wait_for(entry("TWO"))
    # The listener is killed too, and misses nothing.
    listener.kill()
    assert run("client.py", "ask", "three").result() == (0, "THREE")
    again = run("client.py", "listen", "upper/log", state="listener")
    again.wait_for(entry("THREE"))
    texts = [line for line in listener.lines() + again.lines() if line.startswith("{")]
    assert texts == [entry("ONE"), entry("TWO"), entry("THREE")]


def test_a_message_that_is_too_long_is_not_sent(run):
    run("agent.py").wait_for(CONNECTED)
    code, said = run("client.py", "ask", "x" * 40000).result()
    assert code == 1
    assert said == "the message is longer than 32768 bytes"


def test_curl_asks_the_agent(bridge, run):
    run("agent.py").wait_for(CONNECTED)
    environment = {"PATH": os.environ["PATH"], "BRIDGE_EDGE": bridge.url("edge", "").replace("ws:", "http:")}
    for text in ["hello bridge", 'with "marks" and \\ too']:
        done = subprocess.run(
            [EXAMPLES.parent / "curl/ask.sh", text], env=environment, capture_output=True, timeout=WITHIN_S, check=False
        )
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert (answer["source"], answer["payload"]["text"]) == ("agent:upper", text.upper())


def test_a_second_agent_takes_over_and_the_first_ends(run):
    first = run("agent.py")
    first.wait_for(CONNECTED)
    run("agent.py").wait_for(CONNECTED)
    assert first.result() == (1, "another program has taken over this agent id")
