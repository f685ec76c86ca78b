"""A peer of the bridge over a real socket, with the `websockets` library doing the WebSocket part."""

import json
import threading
import time
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

SUBPROTOCOL = "agent-bridge.v1"
WITHIN_S = 5
NOTICES = frozenset({
    "agent:connected", "agent:disconnected", "agent:updated", "agent:status",
    "session:connected", "session:disconnected", "presence:join", "presence:leave",
})


class Refused(Exception):
    """The server answered the upgrade with an HTTP status."""

    def __init__(self, status, body):
        super().__init__(f"refused with HTTP {status}: {body!r}")
        self.status = status
        self.body = body

    @property
    def code(self):
        return json.loads(self.body)["error"]["code"]


class Peer:
    """An open connection. `raw` peers keep `connection:ack` in the queue; the others have read it into `ack`."""

    def __init__(self, url, headers=None, subprotocol=False, raw=False):
        try:
            opening = connect(
                url,
                additional_headers=headers or {},
                subprotocols=[SUBPROTOCOL] if subprotocol else None,
                proxy=None,
                ping_interval=None,
                max_size=None,
                max_queue=None,
                open_timeout=WITHIN_S,
                close_timeout=WITHIN_S,
            )
            self.socket = opening.__enter__()  # left by close(), in another method
        except InvalidStatus as error:
            raise Refused(error.response.status_code, error.response.body) from None
        if subprotocol:
            assert self.socket.subprotocol == SUBPROTOCOL, "the subprotocol was not confirmed"
        self.ack = None
        if not raw:
            self.ack = self.read_ack()

    def read_ack(self):
        try:
            frame, _ = self.next_frame()
            assert frame["type"] == "connection:ack", f"the first frame is not connection:ack: {frame}"
        except BaseException:
            self.socket.close()
            raise
        return frame["payload"]

    # Sending

    def send(self, message):
        self.socket.send(json.dumps(message, ensure_ascii=False, separators=(",", ":")))

    def send_raw(self, text):
        self.socket.send(text)

    def send_fragments(self, text, count):
        """One text message in `count` frames; the library ends it with an empty one."""
        data = text.encode()
        parts = count - 1
        edges = [len(data) * part // parts for part in range(parts + 1)]
        self.socket.send([data[start:end] for start, end in zip(edges, edges[1:])], text=True)

    def send_bytes(self, data, opcode):
        self.socket.send(data, text=opcode == "text")

    def send_wire(self, data):
        self.socket.socket.sendall(data)

    def ping(self, text, within=WITHIN_S):
        answered: threading.Event = self.socket.ping(text)
        assert answered.wait(within), f"no pong for the ping {text!r} within {within} s"

    # Receiving

    def next_frame(self, within=WITHIN_S):
        """The next frame, parsed, and its text. Fails when none comes in time."""
        try:
            text = self.socket.recv(timeout=within)
        except TimeoutError:
            raise AssertionError(f"no frame within {within} s") from None
        except ConnectionClosed as closed:
            raise AssertionError(f"the connection was closed: {closed}") from None
        assert isinstance(text, str), f"a binary frame: {text!r}"
        return json.loads(text), text

    def expect(self, kind, within=WITHIN_S, **fields):
        """The next frame, which must have this type and these envelope fields; other notices are skipped."""
        deadline = time.monotonic() + within
        while True:
            frame, _ = self.next_frame(max(0.001, deadline - time.monotonic()))
            if frame["type"] == kind and all(frame.get(name) == value for name, value in fields.items()):
                return frame
            assert is_notice(frame), f"expected {kind} {fields}, received {frame}"

    def expect_error(self, code, correlation_id):
        frame = self.expect("system:error", correlation_id=correlation_id)
        assert frame["payload"]["code"] == code, f"expected {code}, received {frame['payload']}"
        return frame["payload"]

    def wait_closed(self, within=WITHIN_S):
        """Reads on until the connection is closed; returns the close code."""
        deadline = time.monotonic() + within
        try:
            while True:
                self.socket.recv(timeout=max(0.001, deadline - time.monotonic()))
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006
        except TimeoutError:
            raise AssertionError(f"the connection is still open after {within} s") from None

    def close(self):
        """Closes with 1000 and waits for the answer; returns its code."""
        self.socket.close()
        return self.socket.close_code


class Session:
    """A registered session: its id and its secret, in both forms in which the edge returns it."""

    def __init__(self, daemon):
        answer = daemon.request("edge", "POST", "/api/client", {"content-length": "0"})
        assert answer.status == 201, f"registration answered {answer.status}: {answer.body!r}"
        body = answer.json()
        self.id = body["client_id"]
        self.token = body["token"]
        self.cookie = (answer.headers.get("set-cookie") or "").split(";")[0]

    @property
    def bearer(self):
        return {"authorization": f"Bearer {self.token}"}


def agent(daemon, agent_id=None, **options):
    query = f"?agent_id={quote(agent_id, safe='')}" if agent_id is not None else ""
    headers = {"authorization": f"Bearer {daemon.agent_key}"}
    return Peer(daemon.url("broker", f"/ws/agent{query}"), headers, **options)


def session(daemon, agent=None, of=None, **options):
    """A connection of a new session, or of `of`; the peer has the session as `session`."""
    of = of or Session(daemon)
    query = f"?agent={quote(agent, safe='')}" if agent is not None else ""
    peer = Peer(daemon.url("edge", f"/ws/{of.id}{query}"), of.bearer, **options)
    peer.session = of
    return peer


def is_notice(frame):
    return frame.get("source") == "bridge" and frame["type"] in NOTICES
