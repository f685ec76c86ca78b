// A walk through docs/protocol.md with Node's `ws`, an independent client.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";

import { Daemon } from "./harness/daemon.js";
import { openAgent, openSession, Peer, Refused, register, SUBPROTOCOL } from "./harness/wire.js";

/** An agent with a unique id and a session that talks to it, closed at the end of the test. */
async function pair(context, daemon) {
  const agent = await openAgent(daemon, `planner-${randomUUID()}`);
  context.after(() => agent.terminate());
  const viewer = await openSession(daemon, { agent: agent.ack.agent_id });
  context.after(() => viewer.terminate());
  return { agent, viewer };
}

async function refusal(promise) {
  const error = await promise.then(
    () => assert.fail("the connection was accepted"),
    (reason) => reason,
  );
  assert.ok(error instanceof Refused, String(error));
  return { status: error.status, code: error.body.error.code };
}

describe("docs/protocol.md with ws", { concurrency: true }, () => {
  let daemon;
  before(async () => {
    daemon = await Daemon.start();
  });
  after(() => daemon?.stop());

  test("1: an agent hears who it is and what holds", async (context) => {
    const { agent } = await pair(context, daemon);
    assert.equal(agent.ackFrame.source, "bridge");
    assert.equal(agent.ackFrame.target, agent.address);
    assert.equal(agent.ack.protocol, 1);
    assert.equal(agent.ack.session_id, null);
    assert.deepEqual(agent.ack.heartbeat, { interval_ms: 5000, timeout_ms: 30000 });
    assert.equal(agent.ack.limits.max_frame_bytes, 1_048_576);
  });

  test("1: the key is accepted without the scheme", async (context) => {
    const agent = await openAgent(daemon, `plain-${randomUUID()}`, { headers: { authorization: daemon.agentKey } });
    context.after(() => agent.terminate());
  });

  test("1: a wrong or missing key is refused before the upgrade", async () => {
    const unauthorized = { status: 401, code: "unauthorized" };
    assert.deepEqual(await refusal(openAgent(daemon, "x", { headers: { authorization: "Bearer wrong" } })), unauthorized);
    assert.deepEqual(await refusal(openAgent(daemon, "x", { headers: {} })), unauthorized);
  });

  test("1: a session opens the edge's socket with its token or its cookie", async (context) => {
    const session = await register(daemon);
    assert.match(session.setCookie, /HttpOnly/i);
    assert.match(session.setCookie, /SameSite=(Lax|Strict)/i);
    const byToken = await Peer.open(daemon.url("edge", `/ws/${session.id}`), { headers: session.bearer });
    context.after(() => byToken.terminate());
    const byCookie = await Peer.open(daemon.url("edge", "/ws"), { headers: { cookie: session.cookie } });
    context.after(() => byCookie.terminate());
    assert.equal(byToken.ack.session_id, session.id);
    assert.equal(byCookie.ack.session_id, session.id);
  });

  test("1: knowing an id is not owning it", async () => {
    const [mine, theirs] = [await register(daemon), await register(daemon)];
    const url = daemon.url("edge", `/ws/${theirs.id}`);
    assert.deepEqual(await refusal(Peer.open(url, { headers: mine.bearer })), { status: 403, code: "forbidden" });
    assert.deepEqual(await refusal(Peer.open(url)), { status: 401, code: "unauthorized" });
  });

  test("1: a page of another origin cannot use the cookie", async () => {
    const session = await register(daemon);
    const url = daemon.url("edge", "/ws");
    const headers = { cookie: session.cookie, origin: "https://elsewhere.example" };
    assert.deepEqual(await refusal(Peer.open(url, { headers })), { status: 403, code: "origin_not_allowed" });
  });

  test("1: the subprotocol is confirmed, no extension is", async (context) => {
    const agent = await openAgent(daemon, `sub-${randomUUID()}`, { protocols: [SUBPROTOCOL], headers: { authorization: `Bearer ${daemon.agentKey}` } });
    context.after(() => agent.terminate());
    const viewer = await openSession(daemon, { protocols: [SUBPROTOCOL] });
    context.after(() => viewer.terminate());
    for (const { socket } of [agent, viewer]) {
      assert.equal(socket.protocol, SUBPROTOCOL);
      assert.equal(socket.extensions, "");
    }
  });

  test("1: a newer connection takes the agent over", async (context) => {
    const { agent, viewer } = await pair(context, daemon);
    const newer = await openAgent(daemon, agent.ack.agent_id);
    context.after(() => newer.terminate());
    assert.equal(await agent.closeCode(), 4009);
    viewer.send({ id: "q1", type: "message:send", payload: 1 });
    await newer.expect("message:send", { id: "q1", source: viewer.address });
  });

  test("2: payloads and unknown fields pass byte for byte, source is stamped", async (context) => {
    const { agent, viewer } = await pair(context, daemon);
    const payload = '{ "n" : 1.00e+2,"big":12345678901234567890123,"e":"\\u00e9\\/","k":1,"k":2 }';
    viewer.socket.send(`{"id":"m1","source":"bridge","x":[ 1 ],"type":"message:send","payload":${payload}}`);
    const frame = await agent.expect("message:send", { id: "m1", source: viewer.address });
    assert.ok(agent.lastText.includes(payload), agent.lastText);
    assert.ok(agent.lastText.includes('"x":[ 1 ]'), agent.lastText);
    assert.ok(!Number.isNaN(Date.parse(frame.timestamp)));
  });

  test("3: a message goes there and its streamed answer comes back in order", async (context) => {
    const { agent, viewer } = await pair(context, daemon);
    viewer.send({ id: "q1", type: "message:send", timeout_ms: 5_000, payload: { text: "hello" } });
    const question = await agent.expect("message:send", { id: "q1" });
    const answer = { target: question.source, correlation_id: "q1" };
    for (let index = 0; index < 100; index += 1) agent.send({ type: "message:delta", ...answer, payload: { text: "x", index } });
    agent.send({ type: "message:done", ...answer, payload: { text: "x".repeat(100) } });
    for (let index = 0; index < 100; index += 1) {
      const delta = await viewer.expect("message:delta", { correlation_id: "q1", source: agent.address });
      assert.equal(delta.payload.index, index);
    }
    await viewer.expect("message:done", { correlation_id: "q1" });
  });

  test("3: what cannot be routed is answered with a correlated error", async (context) => {
    const { agent, viewer } = await pair(context, daemon);
    viewer.send({ id: "42", type: "message:send", target: "agent:ghost", payload: 1 });
    const error = await viewer.expectError("agent_not_found", "42");
    assert.equal(error.target, "agent:ghost");
    assert.equal(error.temporary, true);
    viewer.send({ id: "43", type: "message:send", target: "broadcast:all", payload: 1 });
    await viewer.expectError("not_allowed", "43");
    agent.send({ id: "44", type: "message:send", payload: 1 });
    await agent.expectError("target_required", "44");
  });

  test("4: an agent describes itself, says how it is, and is listed", async (context) => {
    const { agent, viewer } = await pair(context, daemon);
    agent.send({ id: "1", type: "agent:register", payload: { name: "Planner", capabilities: ["plan"], metadata: { any: "json" } } });
    const { payload } = await agent.expect("agent:registered", { correlation_id: "1" });
    assert.equal(payload.agent.name, "Planner");
    agent.send({ type: "agent:status", payload: { status: "busy" } });
    assert.equal((await viewer.expect("agent:status", { source: "bridge" })).payload.status, "busy");
    viewer.send({ id: "2", type: "agent:list" });
    const { agents } = (await viewer.expect("agent:listed", { correlation_id: "2" })).payload;
    const listed = agents.find((one) => one.agent_id === agent.ack.agent_id);
    assert.deepEqual([listed.name, listed.status, listed.capabilities], ["Planner", "busy", ["plan"]]);
  });

  test("4: pings are answered on both levels", async (context) => {
    const { agent, viewer } = await pair(context, daemon);
    for (const peer of [agent, viewer]) {
      peer.send({ id: "p", type: "connection:ping", payload: { t: 1 } });
      assert.deepEqual((await peer.expect("connection:pong", { correlation_id: "p" })).payload, { t: 1 });
      const pong = new Promise((resolve) => peer.socket.once("pong", (data) => resolve(data.toString())));
      peer.socket.ping("hello");
      assert.equal(await pong, "hello");
    }
  });

  test("4: topics carry messages and presence", async (context) => {
    const { agent, viewer } = await pair(context, daemon);
    const topic = `room-${randomUUID()}`;
    viewer.send({ id: "1", type: "topic:subscribe", payload: { topic, presence: true } });
    await viewer.expect("topic:subscribed", { correlation_id: "1" });
    agent.send({ id: "2", type: "topic:subscribe", payload: { topic } });
    await agent.expect("topic:subscribed", { correlation_id: "2" });
    assert.deepEqual((await viewer.expect("presence:join")).payload, { topic, member: agent.address });
    agent.send({ id: "m1", type: "message:send", target: `topic:${topic}`, payload: 1 });
    await viewer.expect("message:send", { id: "m1", source: agent.address });
    agent.send({ id: "3", type: "topic:unsubscribe", payload: { topic } });
    await agent.expect("topic:unsubscribed", { correlation_id: "3" });
    assert.deepEqual((await viewer.expect("presence:leave")).payload, { topic, member: agent.address });
  });

  test("5: a request hears that no answer came, or that its peer is gone", async (context) => {
    const { agent, viewer } = await pair(context, daemon);
    viewer.send({ id: "q1", type: "message:send", timeout_ms: 50, payload: 1 });
    await viewer.expectError("reply_timeout", "q1");
    viewer.send({ id: "q2", type: "message:send", timeout_ms: 60_000, payload: 1 });
    await agent.expect("message:send", { id: "q1" });
    await agent.expect("message:send", { id: "q2" });
    await agent.close();
    await viewer.expectError("peer_gone", "q2");
  });

  test("6: a peer that answers no ping is closed with 4010", async (context) => {
    const impatient = await Daemon.start({ env: { AGENT_BRIDGE_HEARTBEAT__INTERVAL: "50ms", AGENT_BRIDGE_HEARTBEAT__TIMEOUT: "300ms" } });
    context.after(() => impatient.stop());
    const patient = await openAgent(impatient, "answers");
    const mute = await openAgent(impatient, "mute", { autoPong: false });
    assert.deepEqual(mute.ack.heartbeat, { interval_ms: 50, timeout_ms: 300 });
    assert.equal(await mute.closeCode(), 4010);
    patient.send({ id: "p", type: "connection:ping" });
    await patient.expect("connection:pong", { correlation_id: "p" });
    patient.terminate();
  });

  test("8: an oversized message closes with 1009, a binary frame with 1003", async (context) => {
    const [big, binary] = [await pair(context, daemon), await pair(context, daemon)];
    big.agent.send({ type: "message:send", target: "agent:x", payload: "x".repeat(1_048_576) });
    assert.equal(await big.agent.closeCode(), 1009);
    big.viewer.send({ type: "message:send", target: "agent:x", payload: "x".repeat(1_048_576) });
    assert.equal(await big.viewer.closeCode(), 1009);
    binary.agent.socket.send(Buffer.from([0, 1]));
    assert.equal(await binary.agent.closeCode(), 1003);
    binary.viewer.socket.send(Buffer.from([0, 1]));
    assert.equal(await binary.viewer.closeCode(), 1003);
  });

  test("8: the end of a session closes its sockets with 4003", async () => {
    const viewer = await openSession(daemon);
    const response = await daemon.fetch("edge", "/api/client/session", { method: "DELETE", headers: viewer.session.bearer });
    assert.ok(response.ok, `answered ${response.status}`);
    assert.equal(await viewer.closeCode(), 4003);
    const again = await refusal(Peer.open(daemon.url("edge", "/ws"), { headers: viewer.session.bearer }));
    assert.equal(again.status, 401);
  });
});

describe("drain", () => {
  test("6: on SIGTERM everybody is told, closed with 1012, and the daemon exits with 0", async (context) => {
    const daemon = await Daemon.start();
    context.after(() => daemon.stop());
    const { agent, viewer } = await pair(context, daemon);
    const exit = daemon.end("SIGTERM");
    for (const peer of [agent, viewer]) {
      const { payload } = await peer.expect("system:draining", {}, 10_000);
      assert.ok(payload.close_within_ms > 0);
      assert.equal(await peer.closeCode(15_000), 1012);
    }
    assert.equal(await exit, 0);
  });
});
