import assert from "node:assert/strict";
import { test } from "node:test";

import { ExchangeStatus, initialState, MAX_ENTRIES, reduce, sortedAgents, visibleEntries } from "../../../../static/assets/chat-state.js";

const frame = (type, payload, more = {}) => ({ kind: "frame", frame: { id: "f", type, source: "bridge", payload, ...more } });
const answer = (type, payload, more = {}) => frame(type, payload, { source: "agent:demo", correlation_id: "q1", ...more });
const delta = (text, index) => answer("message:delta", { text, index });
const agent = (agent_id, more = {}) => ({ agent_id, name: null, capabilities: [], status: "idle", ...more });
const play = (events, state = initialState()) => events.reduce(reduce, state);

/** A question to the agent `demo`, followed by `events`; the exchange. */
function exchange(...events) {
  const state = play([frame("agent:listed", { agents: [agent("demo")] }), { kind: "asked", id: "q1", agentId: "demo", text: "hi" }, ...events]);
  return state.entries.find((entry) => entry.id === "q1");
}

test("an answer streams and is done", () => {
  const half = exchange(delta("Hel", 0), delta("lo", 1));
  assert.deepEqual([half.answer, half.status, half.gap], ["Hello", ExchangeStatus.STREAMING, false]);
  const whole = exchange(delta("Hel", 0), answer("message:done", { text: "Hello!" }), delta("late", 1));
  assert.deepEqual([whole.answer, whole.status], ["Hello!", ExchangeStatus.DONE]);
});

test("a plain correlated message is an answer too", () => {
  assert.equal(exchange(answer("message:send", { text: "hi" })).answer, "hi");
  assert.equal(exchange(answer("task:done", { n: 1 })).answer, '{"n":1}');
  assert.equal(exchange(delta("a", 0), answer("message:done", {})).answer, "a");
});

test("a missing part is noticed, and made good by the whole text", () => {
  assert.equal(exchange(delta("a", 0), delta("c", 2)).gap, true);
  assert.equal(exchange(delta("a", 0), delta("c", 2), answer("message:done", { text: "abc" })).gap, false);
});

test("errors stand beside the question they are correlated with", () => {
  const error = { code: "agent_not_found", message: "no agent", temporary: true };
  const failed = exchange(frame("system:error", error, { correlation_id: "q1" }));
  assert.deepEqual([failed.status, failed.error], [ExchangeStatus.FAILED, error]);
  const byAgent = exchange(delta("a", 0), answer("message:error", { code: "boom", message: "it broke" }));
  assert.deepEqual([byAgent.status, byAgent.error.code, byAgent.answer], [ExchangeStatus.FAILED, "boom", "a"]);
});

test("an error that belongs to no question is a notice", () => {
  const state = play([frame("system:error", { code: "upstream_unavailable", message: "dropped" }, { source: "edge" })]);
  assert.deepEqual(state.entries.map(({ kind, level, text }) => [kind, level, text]), [["notice", "error", "dropped (upstream_unavailable)"]]);
});

test("an answer that comes after the time limit is taken up", () => {
  const late = exchange(frame("system:error", { code: "reply_timeout" }, { correlation_id: "q1" }), answer("message:done", { text: "sorry" }));
  assert.deepEqual([late.status, late.answer, late.error], [ExchangeStatus.DONE, "sorry", null]);
});

test("somebody else cannot answer", () => {
  const untouched = exchange(frame("message:done", { text: "forged" }, { source: "agent:evil", correlation_id: "q1" }));
  assert.equal(untouched.status, ExchangeStatus.WAITING);
});

test("only the bridge and the edge speak for themselves", () => {
  const state = play([frame("agent:listed", { agents: [agent("fake")] }, { source: "agent:evil" })]);
  assert.deepEqual(state.agents, {});
});

test("a stopped answer stays as it was", () => {
  const stopped = exchange(delta("a", 0), { kind: "stopped", id: "q1" }, delta("b", 1), answer("message:done", { text: "ab" }));
  assert.deepEqual([stopped.status, stopped.answer], [ExchangeStatus.STOPPED, "a"]);
});

test("what was open when the connection was lost, or renewed, has failed", () => {
  for (const event of [{ kind: "disconnected" }, frame("connection:ack", { session_id: "s" })]) {
    const lost = exchange(delta("a", 0), event);
    assert.deepEqual([lost.status, lost.error.code, lost.error.temporary], [ExchangeStatus.FAILED, "connection_lost", true]);
  }
  assert.equal(exchange(answer("message:done", { text: "a" }), { kind: "disconnected" }).status, ExchangeStatus.DONE);
});

test("agents come, go, change, and the first is chosen", () => {
  let state = play([frame("agent:connected", { agent: agent("b") }), frame("agent:connected", { agent: agent("a", { name: "Zed" }) })]);
  assert.equal(state.chosen, "b");
  assert.deepEqual(sortedAgents(state).map((one) => one.agent_id), ["b", "a"]);
  state = play([frame("agent:status", { agent_id: "a", status: "busy" }), frame("agent:updated", { agent: agent("b", { name: "Bee" }) })], state);
  assert.equal(state.agents.a.status, "busy");
  assert.equal(state.agents.b.name, "Bee");
  state = play([frame("agent:disconnected", { agent_id: "a" }), frame("agent:disconnected", { agent_id: "b" })], state);
  assert.equal(state.agents.a, undefined);
  assert.equal(state.agents.b.online, false, "the chosen one stays in sight");
});

test("the list replaces what was known, but for agents one has talked to", () => {
  const state = play([
    frame("agent:listed", { agents: [agent("a"), agent("b"), agent("c")] }),
    { kind: "asked", id: "q", agentId: "b", text: "hi" },
    frame("agent:listed", { agents: [agent("c")] }),
  ]);
  assert.deepEqual(Object.values(state.agents).map(({ agent_id, online }) => [agent_id, online]), [["a", false], ["b", false], ["c", true]]);
});

test("messages of an agent one is not looking at are counted until it is chosen", () => {
  let state = play([
    frame("agent:listed", { agents: [agent("a"), agent("b")] }),
    frame("message:send", { text: "psst" }, { source: "agent:b" }),
  ]);
  assert.equal(state.unread.b, 1);
  assert.deepEqual(visibleEntries(state), []);
  state = reduce(state, { kind: "chosen", agentId: "b" });
  assert.equal(state.unread.b, 0);
  assert.deepEqual(visibleEntries(state).map((entry) => entry.text), ["psst"]);
});

test("losses and restarts are told in words", () => {
  const state = play([
    frame("system:lost", { count: 17, bytes: 100, reason: "slow_reader" }),
    frame("system:draining", { reason: "shutdown", close_within_ms: 10_000 }),
  ]);
  assert.deepEqual(state.entries.map((entry) => entry.text), [
    "17 messages did not reach this page: slow reader.",
    "The server restarts within 10 s. This page comes back by itself.",
  ]);
});

test("the page does not grow without end", () => {
  let state = initialState();
  for (let number = 0; number < MAX_ENTRIES + 10; number += 1) state = reduce(state, { kind: "notice", level: "info", text: String(number) });
  assert.equal(state.entries.length, MAX_ENTRIES);
  assert.equal(state.entries[0].text, "10");
});

test("frames that are not what they should be change nothing and throw nothing", () => {
  const before = initialState();
  for (const type of ["agent:listed", "agent:connected", "agent:disconnected", "agent:updated", "nonsense", undefined]) {
    for (const payload of [null, undefined, 7, "text", [], {}]) {
      assert.deepEqual(reduce(before, frame(type, payload)), before, `${type} ${JSON.stringify(payload)}`);
    }
  }
});

test("what comes again after the connection was lost is there once", () => {
  const news = frame("job:new", "hi", { id: "n1", source: "agent:demo" });
  const again = { ...news, frame: { ...news.frame, redelivered: 1 } };
  assert.equal(play([news, again]).entries.filter((entry) => entry.kind === "incoming").length, 1);
  assert.equal(play([again]).entries.filter((entry) => entry.kind === "incoming").length, 1, "the first that this page sees");
  const whole = exchange(answer("message:done", { text: "Hello!" }), answer("message:done", { text: "Hello!" }, { redelivered: 1 }));
  assert.deepEqual([whole.answer, whole.status], ["Hello!", ExchangeStatus.DONE]);
});
