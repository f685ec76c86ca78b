// A client of the dialect `supervisor` as such clients are: it matches replies to its oldest
// fitting request, gives up after 10 s, and comes back a second after its socket was closed.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { WebSocket } from "ws";

import { Daemon } from "./harness/daemon.js";
import { eventually, within } from "./harness/eventually.js";
import { openAgent } from "./harness/wire.js";

const TOKEN = "dev-token-12345";
const GIVES_UP_MS = 10_000;

/** Where the daemon says that the dialect listens. */
function listenerOf(daemon) {
  const lines = daemon.log(1000).split("\n").filter((line) => line.trim().startsWith("supervisor "));
  return lines.at(-1).trim().split(/\s+/)[1];
}

class SupervisorClient {
  #waiting = [];

  constructor(url, token = TOKEN) {
    this.url = url;
    this.token = token;
    this.connections = 0;
    this.pushed = [];
    this.isReady = false;
    this.#connect();
  }

  #connect() {
    this.socket = new WebSocket(this.url);
    this.socket.on("open", () => {
      this.connections += 1;
      this.#send({ type: "auth", token: this.token });
    });
    this.socket.on("message", (data) => this.#onEvent(JSON.parse(data)));
    this.socket.on("error", () => {}); // told by the close that follows
    this.socket.on("close", () => {
      this.isReady = false;
      this.reconnecting = setTimeout(() => this.#connect(), 1000);
    });
  }

  #send(message) {
    this.socket.send(JSON.stringify(message));
  }

  #onEvent(event) {
    if (event.type === "auth_result") {
      this.authResult = event;
      this.isReady = event.success;
      return;
    }
    const at = this.#waiting.findIndex(({ fits }) => fits(event));
    if (at < 0) this.pushed.push(event);
    else this.#waiting.splice(at, 1)[0].settle(event);
  }

  /** Sends a request; the first event that fits is taken for its reply. */
  request(message, medium, reply) {
    const settled = new Promise((resolve, reject) => {
      const fits = (event) =>
        (event.type === "message_acknowledged" && event.message_type === medium) ||
        (event.type === reply && event.user === message.user) ||
        event.type === "error";
      this.#waiting.push({ fits, settle: (event) => (event.type === "error" ? reject(new Error(event.message)) : resolve(event)) });
    });
    this.#send(message);
    return within("a reply", settled, GIVES_UP_MS);
  }

  sms(user, message) {
    return this.request({ type: "sms_received", from: "+1", to: "+2", message, user }, "sms", "send_sms_response");
  }

  email(user, subject, body) {
    const message = { type: "email_received", from: "ann@b.example", to: "boss@b.example", subject, body, user };
    return this.request(message, "email", "send_email_response");
  }

  stop() {
    this.socket.removeAllListeners("close");
    clearTimeout(this.reconnecting);
    this.socket.terminate();
  }
}

/** Answers every question with its text in capitals, the later ones sooner. */
async function shouting(daemon) {
  const agent = await openAgent(daemon, "boss");
  let answered = 0;
  (async () => {
    for (;;) {
      const question = await agent.next(600_000);
      if (question.type !== "message:send") continue;
      answered += 1;
      const answer = { type: "message:done", target: question.source, correlation_id: question.id, payload: { text: question.payload.text.toUpperCase() } };
      setTimeout(() => agent.send(answer), Math.max(0, 100 - 10 * answered));
    }
  })().catch(() => {});
  return agent;
}

describe("a supervisor client", () => {
  let daemon;

  before(async () => {
    const env = { SUPERVISOR_TOKEN: TOKEN, AGENT_BRIDGE_DIALECTS__SUPERVISOR__AGENT: "boss", SUPERVISOR_ADDR: "127.0.0.1:0" };
    daemon = await Daemon.start({ flags: ["--dialect", "supervisor"], env });
  });
  after(() => daemon?.stop());

  test("gets its own replies for requests that run side by side", async (context) => {
    const agent = await shouting(daemon);
    const client = new SupervisorClient(listenerOf(daemon));
    context.after(() => (client.stop(), agent.terminate()));
    await eventually("it is authenticated", () => client.isReady);
    const texts = Array.from({ length: 10 }, (_, number) => `text ${number}`);
    const replies = await Promise.all(texts.map((text) => client.sms("ann", text)));
    assert.deepEqual(replies.map(({ message }) => message), texts.map((text) => text.toUpperCase()));
    const mail = await client.email("ann", "Hi", "there");
    assert.deepEqual(mail, { type: "send_email_response", to: "ann@b.example", subject: "Re: Hi", body: "SUBJECT: HI\n\nTHERE", user: "ann" });
    assert.deepEqual(client.pushed, []);
  });

  test("with a wrong key keeps its one socket", async (context) => {
    const client = new SupervisorClient(listenerOf(daemon), "wrong");
    context.after(() => client.stop());
    await eventually("it is refused", () => client.authResult !== undefined);
    assert.equal(client.authResult.success, false);
    assert.equal(client.authResult.message, "Invalid authentication token");
    await assert.rejects(client.sms("ann", "x"), /Not authenticated/);
    assert.equal(client.connections, 1);
    assert.equal(client.socket.readyState, WebSocket.OPEN);
  });

  test("is served again after the daemon was killed", async (context) => {
    const url = listenerOf(daemon);
    const client = new SupervisorClient(url);
    context.after(() => client.stop());
    await eventually("it is authenticated", () => client.isReady);
    await daemon.end("SIGKILL");
    daemon.env.SUPERVISOR_ADDR = new URL(url).host;
    await daemon.startRole("all");
    await daemon.ready();
    await eventually("it is back", () => client.isReady, 20_000);
    const agent = await shouting(daemon);
    context.after(() => agent.terminate());
    assert.equal((await client.sms("ann", "again")).message, "AGAIN");
  });
});
