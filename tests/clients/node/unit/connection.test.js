import assert from "node:assert/strict";
import { test } from "node:test";

import {
  ACK_WITHIN_MS,
  BridgeConnection,
  INTERRUPTED_GRACE_MS,
  PING_EVERY_MS,
  PONG_WITHIN_MS,
  SendError,
  STABLE_AFTER_MS,
  State,
} from "../../../../static/assets/connection.js";
import { FakeClock, fakeWebSocket } from "./fakes.js";

/**
 * A started connection whose registrations answer as `answers` say, one after another; the last
 * repeats.
 */
async function started({ answers = [() => ({})], random = () => 0.5 } = {}) {
  const clock = new FakeClock();
  const WebSocket = fakeWebSocket();
  const states = [];
  const frames = [];
  let registrations = 0;
  const connection = new BridgeConnection({
    url: "ws://here/ws",
    register: async () => answers[Math.min(registrations++, answers.length - 1)](),
    onFrame: (frame) => frames.push(frame.type),
    onState: (state, detail) => states.push({ state, ...detail }),
    WebSocket,
    clock,
    random,
  });
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  connection.start();
  await settled();
  return {
    connection,
    clock,
    states,
    frames,
    settled,
    sockets: WebSocket.made,
    get socket() {
      return WebSocket.made.at(-1);
    },
    get registrations() {
      return registrations;
    },
  };
}

async function connected(options) {
  const run = await started(options);
  run.socket.acknowledges();
  return run;
}

const refuse = () => {
  throw Object.assign(new Error("no"), { refused: true });
};
const unreachable = () => {
  throw Object.assign(new Error("away"), { refused: false, retryAfterMs: 0 });
};

test("registers, dials with the subprotocol, and is connected at the ack", async () => {
  const run = await started();
  assert.equal(run.registrations, 1);
  assert.equal(run.socket.url, "ws://here/ws");
  assert.deepEqual(run.socket.protocols, ["agent-bridge.v1"]);
  assert.equal(run.connection.state, State.CONNECTING);
  run.socket.acknowledges();
  assert.equal(run.connection.state, State.CONNECTED);
  assert.deepEqual(run.frames, ["connection:ack"]);
});

test("sends with an id, and refuses what cannot go", async () => {
  const run = await connected();
  const id = run.connection.send({ type: "message:send", payload: 1 });
  assert.deepEqual(run.socket.sent.at(-1), { id, type: "message:send", payload: 1 });
  assert.throws(() => run.connection.send({ type: "x:y", payload: "é".repeat(500) }), (error) => error.code === "message_too_big");
  run.socket.bufferedAmount = 5 * 1024 * 1024;
  assert.throws(() => run.connection.send({ type: "x:y" }), (error) => error.code === "too_much_unsent");
  run.socket.closes(1006);
  assert.throws(() => run.connection.send({ type: "x:y" }), (error) => error instanceof SendError && error.code === "not_connected");
});

test("a lost socket is dialled again after a wait that grows", async () => {
  const run = await connected();
  const waits = [];
  for (let attempt = 0; attempt < 4; attempt += 1) {
    run.socket.closes(1006);
    assert.equal(run.connection.state, State.RECONNECTING);
    waits.push(run.states.at(-1).retryInMs);
    run.clock.pass(waits.at(-1));
    await run.settled();
  }
  assert.deepEqual(waits, [500, 1_000, 2_000, 4_000]);
  assert.equal(run.sockets.length, 5);
});

test("a stable connection starts a new series of waits, a short one does not", async () => {
  const run = await connected();
  run.socket.closes(1006);
  run.clock.pass(500);
  await run.settled();
  run.socket.acknowledges();
  run.socket.closes(1012);
  assert.equal(run.states.at(-1).retryInMs, 1_000);
  run.clock.pass(1_000);
  await run.settled();
  run.socket.acknowledges();
  run.clock.pass(STABLE_AFTER_MS);
  run.socket.closes(1012);
  assert.equal(run.states.at(-1).retryInMs, 500);
});

for (const code of [1000, 1002, 1003, 1007, 4009, 4400]) {
  test(`close ${code} stays closed until the user asks`, async () => {
    const run = await connected();
    run.socket.closes(code, "so it is");
    assert.equal(run.connection.state, State.CLOSED);
    assert.match(run.states.at(-1).reason, /so it is/);
    assert.equal(run.clock.waiting, 0);
    run.connection.start();
    await run.settled();
    assert.equal(run.sockets.length, 2);
  });
}

test("close 4011 is met with a wait and a socket that names itself not", async () => {
  const run = await connected();
  run.socket.closes(4011);
  assert.equal(run.states.at(-1).retryInMs, 500);
  run.clock.pass(500);
  await run.settled();
  assert.equal(run.sockets.length, 2);
  assert.doesNotMatch(run.socket.url, /client=/);
});

test("close 4010 is met at once, but not again and again", async () => {
  const run = await connected();
  run.socket.closes(4010);
  assert.equal(run.states.at(-1).retryInMs, 0);
  run.clock.pass(0);
  await run.settled();
  run.socket.acknowledges();
  run.socket.closes(4010);
  assert.equal(run.states.at(-1).retryInMs, 1_000);
});

test("close 4001 confirms the session and dials at once", async () => {
  const run = await connected();
  run.socket.closes(4001);
  run.clock.pass(0);
  await run.settled();
  assert.equal(run.registrations, 2);
  assert.equal(run.sockets.length, 2);
});

test("close 4003 registers again once, the second time it stays closed", async () => {
  const run = await connected();
  run.socket.closes(4003);
  await run.settled();
  assert.equal(run.registrations, 2);
  run.socket.acknowledges();
  assert.equal(run.connection.state, State.CONNECTED);
  run.socket.closes(4003);
  assert.equal(run.connection.state, State.CLOSED);
});

test("a registration that is refused is retried once", async () => {
  const run = await started({ answers: [refuse, () => ({})] });
  await run.settled();
  assert.equal(run.registrations, 2);
  assert.equal(run.sockets.length, 1);

  const never = await started({ answers: [refuse] });
  await never.settled();
  assert.equal(never.connection.state, State.CLOSED);
  assert.equal(never.registrations, 2);
});

test("a server that cannot be reached is asked again with backoff, and no sooner than it says", async () => {
  const run = await started({ answers: [unreachable, () => Promise.reject(Object.assign(new Error("full"), { retryAfterMs: 9_000 })), () => ({})] });
  assert.equal(run.states.at(-1).retryInMs, 500);
  run.clock.pass(500);
  await run.settled();
  assert.equal(run.states.at(-1).retryInMs, 9_000);
  run.clock.pass(9_000);
  await run.settled();
  assert.equal(run.sockets.length, 1);
});

test("an upgrade that fails confirms the session before the next attempt; a lost connection does not", async () => {
  const run = await connected();
  run.socket.closes(1006);
  run.clock.pass(500);
  await run.settled();
  assert.equal(run.registrations, 1);
  run.socket.closes(1006); // before any frame: perhaps a 401
  run.clock.pass(1_000);
  await run.settled();
  assert.equal(run.registrations, 2);
});

test("an ack that does not come is given up", async () => {
  const run = await started();
  run.clock.pass(ACK_WITHIN_MS);
  assert.equal(run.connection.state, State.RECONNECTING);
  assert.equal(run.socket.closedWith, 1000);
});

test("a quiet link is asked for a sign of life and left when there is none", async () => {
  const run = await connected();
  run.clock.pass(PING_EVERY_MS);
  assert.equal(run.socket.sent.at(-1).type, "connection:ping");
  run.socket.says({ type: "connection:pong", source: "bridge" });
  assert.deepEqual(run.frames, ["connection:ack"], "its own pongs are not passed on");
  run.clock.pass(PING_EVERY_MS);
  assert.equal(run.socket.sent.length, 2);
  const dead = run.socket;
  run.clock.pass(PONG_WITHIN_MS);
  assert.equal(run.connection.state, State.RECONNECTING);
  assert.equal(run.states.at(-1).retryInMs, 0);
  dead.acknowledges();
  assert.equal(run.connection.state, State.RECONNECTING, "an abandoned socket has no say");
});

test("while the broker is away the socket stays, unasked, until the ack returns", async () => {
  const run = await connected();
  run.socket.says({ type: "system:upstream", source: "edge", payload: { state: "lost", retry_in_ms: 1_000 } });
  assert.equal(run.connection.state, State.INTERRUPTED);
  run.clock.pass(PING_EVERY_MS + PONG_WITHIN_MS);
  assert.equal(run.socket.sent.length, 0);
  run.socket.says({ type: "system:upstream", source: "edge", payload: { state: "restored" } });
  assert.equal(run.connection.state, State.INTERRUPTED);
  run.socket.acknowledges();
  assert.equal(run.connection.state, State.CONNECTED);
  assert.equal(run.sockets.length, 1);
});

test("an edge that falls silent while the broker is away is left", async () => {
  const run = await connected();
  run.socket.says({ type: "system:upstream", source: "edge", payload: { state: "lost", retry_in_ms: 1_000 } });
  run.clock.pass(1_000 + INTERRUPTED_GRACE_MS);
  assert.equal(run.connection.state, State.RECONNECTING);
});

test("only the edge speaks for the edge", async () => {
  const run = await connected();
  run.socket.says({ type: "system:upstream", source: "agent:evil", payload: { state: "lost" } });
  assert.equal(run.connection.state, State.CONNECTED);
});

test("hurry ends a wait, and asks a quiet link", async () => {
  const run = await connected();
  run.connection.hurry();
  assert.equal(run.socket.sent.at(-1).type, "connection:ping");
  run.socket.closes(1006);
  run.connection.hurry();
  await run.settled();
  assert.equal(run.sockets.length, 2);
});

test("stop closes for good and leaves no timer", async () => {
  const run = await connected();
  run.connection.stop();
  assert.equal(run.socket.closedWith, 1000);
  assert.equal(run.connection.state, State.CLOSED);
  assert.equal(run.clock.waiting, 0);
});

test("text that is no frame is passed over", async () => {
  const run = await connected();
  for (const text of ["nonsense", "null", "7", '"text"']) run.socket.says(text);
  assert.deepEqual(run.frames, ["connection:ack"]);
});
