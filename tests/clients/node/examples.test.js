// The programs of examples/node at a running bridge: they answer, reconnect, acknowledge and
// resume.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { describe, test } from "node:test";

import { Daemon, ROOT } from "./harness/daemon.js";
import { eventually, within } from "./harness/eventually.js";

const EXAMPLES = path.join(ROOT, "examples/node");
const WITHIN_MS = 30_000;
const CONNECTED = "connected as agent:upper";

const entry = (text) => JSON.stringify({ text });

/** An example that runs; what is left of it ends with the test. */
class Program {
  constructor(context, daemon, state, [file, ...rest]) {
    this.output = "";
    const env = {
      PATH: process.env.PATH,
      BRIDGE_BROKER: daemon.url("broker", "").replace("http:", "ws:"),
      BRIDGE_EDGE: daemon.url("edge", ""),
      BRIDGE_STATE: path.join(daemon.folder, `${state}.json`),
      AGENT_TOKEN: daemon.agentKey,
    };
    this.child = spawn(process.execPath, [path.join(EXAMPLES, file), ...rest], { env });
    this.exited = once(this.child, "close");
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on("data", (data) => (this.output += data));
    context.after(() => this.child.kill("SIGKILL"));
  }

  lines() {
    return this.output.split("\n").filter((line) => line !== "");
  }

  async waitFor(line, times = 1) {
    const isThere = () => {
      assert.equal(this.child.exitCode, null, `it ended: ${this.output}`);
      return this.lines().filter((it) => it === line).length >= times;
    };
    await eventually(line, isThere, WITHIN_MS);
  }

  /** Its exit code and what it printed last, once it has ended. */
  async result() {
    const [code] = await within("its end", this.exited, WITHIN_MS).catch((error) => {
      throw new Error(`${error.message}; it printed:\n${this.output}`);
    });
    return { code, last: this.lines().at(-1) };
  }

  async kill() {
    this.child.kill("SIGKILL");
    await this.exited;
  }
}

describe("examples/node", { concurrency: 3 }, () => {
  async function bridge(context) {
    const daemon = await Daemon.start({ env: { AGENT_BRIDGE_LIMITS__MAX_CLIENT_FRAME_BYTES: "32KiB" } });
    context.after(() => daemon.stop());
    const run = (...command) => new Program(context, daemon, "state", command);
    const runAs = (state, ...command) => new Program(context, daemon, state, command);
    return { daemon, run, runAs };
  }

  test("the agent answers the client", async (context) => {
    const { run } = await bridge(context);
    await run("agent.js").waitFor(CONNECTED);
    assert.deepEqual(await run("client.js", "ask", "hello bridge").result(), { code: 0, last: "HELLO BRIDGE" });
  });

  test("a question waits for an absent agent", async (context) => {
    const { run } = await bridge(context);
    const agent = run("agent.js");
    await agent.waitFor(CONNECTED);
    await agent.kill();
    const question = run("client.js", "ask", "are you there?");
    await run("agent.js").waitFor(CONNECTED);
    assert.deepEqual(await question.result(), { code: 0, last: "ARE YOU THERE?" });
  });

  test("after kill -9 of the bridge everything continues where it was", async (context) => {
    const { daemon, run, runAs } = await bridge(context);
    const agent = run("agent.js");
    await agent.waitFor(CONNECTED);
    const listener = runAs("listener", "client.js", "listen", "upper/log");
    assert.equal((await run("client.js", "ask", "one").result()).last, "ONE");
    await listener.waitFor(entry("ONE"));
    await daemon.end("SIGKILL");
    // This question is asked while there is no bridge.
    const question = run("client.js", "ask", "two");
    await daemon.startRole("all");
    assert.equal((await question.result()).last, "TWO");
    await agent.waitFor(CONNECTED, 2);
    await listener.waitFor(entry("TWO"));
    // The listener is killed too, and misses nothing.
    await listener.kill();
    assert.equal((await run("client.js", "ask", "three").result()).last, "THREE");
    const again = runAs("listener", "client.js", "listen", "upper/log");
    await again.waitFor(entry("THREE"));
    const texts = [...listener.lines(), ...again.lines()].filter((line) => line.startsWith("{"));
    assert.deepEqual(texts, [entry("ONE"), entry("TWO"), entry("THREE")]);
  });

  test("a message that is too long is not sent", async (context) => {
    const { run } = await bridge(context);
    await run("agent.js").waitFor(CONNECTED);
    const result = await run("client.js", "ask", "x".repeat(40000)).result();
    assert.deepEqual(result, { code: 1, last: "the message is longer than 32768 bytes" });
  });

  test("a caller without a socket asks, sends and reads over HTTP", async (context) => {
    const { run } = await bridge(context);
    // The question is asked before there is an agent.
    const early = run("call.js", "ask", "early");
    await run("agent.js").waitFor(CONNECTED);
    assert.deepEqual(await early.result(), { code: 0, last: "EARLY" });
    const reader = run("call.js", "read", "upper/log");
    const { code, last } = await run("call.js", "send", "upper/log", "a line").result();
    assert.equal(code, 0);
    assert.match(last, /^stored as \d+$/);
    await reader.waitFor(entry("a line"));
    const refused = await run("call.js", "send", "system.state", "x").result();
    assert.match(refused.last, /^not_allowed: /);
    assert.equal(refused.code, 1);
  });

  test("after kill -9 of the bridge a reader over HTTP continues behind its last event", async (context) => {
    const { daemon, run } = await bridge(context);
    const reader = run("call.js", "read", "news");
    await run("call.js", "send", "news", "one").result();
    await reader.waitFor(entry("one"));
    await daemon.end("SIGKILL");
    const sender = run("call.js", "send", "news", "two");
    await daemon.startRole("all");
    await reader.waitFor(entry("two"));
    await sender.kill();
    assert.equal(reader.lines().filter((line) => line === entry("one")).length, 1);
  });

  test("a second agent takes over and the first ends", async (context) => {
    const { run } = await bridge(context);
    const first = run("agent.js");
    await first.waitFor(CONNECTED);
    await run("agent.js").waitFor(CONNECTED);
    assert.deepEqual(await first.result(), { code: 1, last: "another program has taken over this agent id" });
  });
});
