"""The daemon under test: started on free ports in a folder of its own, and stopped with the test."""

import atexit
import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
START_WITHIN_S = 20
ATTEMPTS = 3


class StartError(Exception):
    """The daemon did not become ready; holds the end of its log."""


class Daemon:
    """One running daemon: broker and edge in one process."""

    def __init__(self, *flags, ca_file=None, **env):
        self.flags = flags
        self.ca_file = ca_file  # with it the daemon is expected to speak TLS
        self.env = env
        self.agent_key = secrets.token_urlsafe(24)
        self.folder = Path(tempfile.mkdtemp(prefix="agent-bridge-test-"))
        self.log_path = self.folder / "daemon.log"
        self.process = None
        atexit.register(self.stop)
        for attempt in range(ATTEMPTS):
            self.ports = {"broker": free_port(), "edge": free_port()}
            try:
                self.start()
                return
            except StartError as error:
                # Another program may take the port between the check and the bind.
                if attempt == ATTEMPTS - 1 or "in use" not in str(error):
                    self.stop()
                    raise

    def start(self):
        """Starts the process on the ports it has, and waits until broker and edge are ready."""
        binary = os.environ.get("AGENT_BRIDGE_BIN", ROOT / "target/debug/agent-bridge")
        environment = {
            "PATH": os.environ["PATH"],
            "WEBSOCKET_SERVER_ADDR": f"127.0.0.1:{self.ports['broker']}",
            "WEB_SERVER_ADDR": f"127.0.0.1:{self.ports['edge']}",
            "AGENT_TOKEN": self.agent_key,
            "DATA_DIR": str(self.folder / "data"),
            "STATIC_ASSETS_PATH": str(ROOT / "static"),
            "RUST_LOG": os.environ.get("AGENT_BRIDGE_TEST_LOG", "info"),
            **self.env,
        }
        command = [str(binary), *self.flags]
        if shutil.which("setpriv"):  # the daemon ends with the test run, however that ends
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + START_WITHIN_S
        while not all(self.is_ready(server) for server in self.ports):
            if self.process.poll() is not None:
                raise StartError(f"the daemon exited with {self.process.returncode}:\n{self.log()}")
            if time.monotonic() > deadline:
                raise StartError(f"the daemon is not ready after {START_WITHIN_S} s:\n{self.log()}")
            time.sleep(0.02)

    def is_ready(self, server):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.request(server, "GET", "/health/ready", within=2).status == 200
        return False

    def request(self, server, method, path, headers=None, within=10, body=None):
        """A plain HTTP request; the answer has `status`, `headers`, `body`, and `json()`."""
        if self.ca_file:
            context = ssl.create_default_context(cafile=self.ca_file)
            connection = http.client.HTTPSConnection("127.0.0.1", self.ports[server], timeout=within, context=context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.ports[server], timeout=within)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def url(self, server, path):
        return f"ws://127.0.0.1:{self.ports[server]}{path}"

    def log(self, lines=30):
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, within=20):
        return self.process.wait(within)

    def stop(self):
        """Ends the process and removes its folder; may be called again."""
        atexit.unregister(self.stop)
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
