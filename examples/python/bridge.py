"""A connection to Agent Bridge that reconnects by itself.

It does what docs/protocol.md asks of every client: it reads the limits in `connection:ack`, waits
for confirmations of durable messages, and reconnects as the close codes of section 8 say.
"""

import asyncio
import contextlib
import json
import random
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

# Close codes after which reconnecting is of no use (section 8).
FINAL_CODES = {
    1002: "the bridge met a protocol error",
    1003: "the bridge met a binary frame",
    1007: "the bridge met text that is not UTF-8",
    1009: "a message was too long",
    4003: "the session has ended, or the key was revoked",
    4009: "another program has taken over this agent id",
    4400: "the bridge met too many invalid frames",
}
# Close codes after which a client reconnects without waiting.
IMMEDIATE_CODES = {4001, 4010}
# HTTP statuses of a refused handshake that may pass: too many requests, and a server that is away.
TEMPORARY_STATUSES = {429, 500, 502, 503, 504}
LONGEST_WAIT = 60


class Final(Exception):
    """Reconnecting is of no use; the text says why."""


class Lost(Exception):
    """The connection was lost before the bridge confirmed a message."""


class TooLong(Exception):
    """A message is longer than this peer may send."""


class Refused(Exception):
    """The bridge answered a message with `system:error`."""

    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']}")
        self.code = error["code"]
        self.temporary = error["temporary"]


class Connection:
    def __init__(self, target):
        """`target` is an async function that returns the URL and the headers to dial with."""
        self.target = target
        self.socket = None
        self.limits = {}
        # Most messages fit. `connection:ack` says what this client must accept.
        self.max_size = 2 * 1024 * 1024
        self.unconfirmed = {}

    async def frames(self):
        """Yields every frame, across connections. Each connection begins with `connection:ack`."""
        attempt = 0
        while True:
            code = wait = None
            try:
                url, headers = await self.target()
                async with connect(url, additional_headers=headers, max_size=self.max_size) as socket:
                    self.socket = socket
                    async for frame in self.of_socket(socket):
                        if frame["type"] == "connection:ack":
                            attempt = 0
                        yield frame
                code = socket.close_code
            except InvalidStatus as refusal:
                wait = seconds_to_wait(refusal.response)
            except OSError as error:
                print(f"cannot connect: {error}", file=sys.stderr, flush=True)
            finally:
                self.forget()
            if code in FINAL_CODES:
                raise Final(FINAL_CODES[code])
            if code in IMMEDIATE_CODES:
                wait = 0
            if wait is None:
                # Full jitter: clients that lost the same server do not all return at once.
                wait = random.uniform(0, min(LONGEST_WAIT, 2**attempt))
                attempt += 1
            await asyncio.sleep(wait)

    async def of_socket(self, socket):
        """The frames of one connection, until it ends."""
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                frame = json.loads(text)
                if frame["type"] == "connection:ack":
                    self.limits = frame["payload"]["limits"]
                    if self.limits["max_receive_bytes"] > self.max_size:
                        # Dial again, with room for the longest message of others.
                        self.max_size = self.limits["max_receive_bytes"]
                        return
                self.settle(frame)
                yield frame

    async def send(self, frame):
        text = json.dumps(frame, ensure_ascii=False)
        limit = self.limits["max_frame_bytes"]
        if len(text.encode()) > limit:
            raise TooLong(f"the message is longer than {limit} bytes")
        try:
            await self.socket.send(text)
        except ConnectionClosed:
            raise Lost from None

    async def send_durable(self, frame):
        """Sends a message and returns its position once the bridge has stored it.

        After `Lost` the message may or may not be stored. Send it again with the same `id`: the
        bridge recognises the repetition and delivers the message once.
        """
        confirmed = asyncio.get_running_loop().create_future()
        self.unconfirmed[frame["id"]] = confirmed
        try:
            await self.send({**frame, "delivery": "durable"})
            return await confirmed
        finally:
            self.unconfirmed.pop(frame["id"], None)

    def settle(self, frame):
        """Tells whoever waits for the confirmation of a message."""
        confirmed = self.unconfirmed.get(frame.get("correlation_id"))
        if confirmed is None or confirmed.done():
            return
        if frame["type"] == "message:accepted":
            confirmed.set_result(frame["payload"])
        elif frame["type"] == "system:error":
            confirmed.set_exception(Refused(frame["payload"]))

    def forget(self):
        """The connection has ended: nothing that waits for it will be confirmed."""
        self.socket = None
        for confirmed in self.unconfirmed.values():
            if not confirmed.done():
                confirmed.set_exception(Lost())


def seconds_to_wait(response):
    """What a refused handshake says about the next attempt; None: wait with backoff."""
    if response.status_code not in TEMPORARY_STATUSES:
        raise Final(f"HTTP {response.status_code}: {response.body.decode()}")
    return float(response.headers.get("Retry-After", 0)) or None
