// A peer of the bridge over a real socket, with the `ws` library doing the WebSocket part.

import assert from "node:assert/strict";

import { WebSocket } from "ws";

import { within } from "./eventually.js";

export const SUBPROTOCOL = "agent-bridge.v1";
const WITHIN_MS = 5_000;
const NOTICES = new Set([
  "agent:connected",
  "agent:disconnected",
  "agent:updated",
  "agent:status",
  "session:connected",
  "session:disconnected",
  "presence:join",
  "presence:leave",
]);

/** The server answered the upgrade with an HTTP status. */
export class Refused extends Error {
  constructor(status, body) {
    super(`refused with HTTP ${status}: ${body}`);
    this.status = status;
    this.body = JSON.parse(body);
  }
}

export class Peer {
  #frames = [];
  #wake = null;

  constructor(socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => {
      socket.on("close", (code) => resolve(code));
    });
    socket.on("message", (data, isBinary) => {
      assert.equal(isBinary, false, "a binary frame");
      this.#frames.push(data.toString());
      this.#wake?.();
    });
    socket.on("close", () => this.#wake?.());
    socket.on("error", () => {}); // told by the close that follows
  }

  /**
   * Connects and reads `connection:ack`. Rejects with `Refused` when the server does not upgrade.
   */
  static async open(url, { headers = {}, protocols = [], autoPong = true } = {}) {
    const socket = new WebSocket(url.replace(/^http/, "ws"), protocols, { headers, autoPong });
    const peer = new Peer(socket);
    await within(`connection to ${url}`, opened(socket));
    const ack = await peer.next();
    assert.equal(ack.type, "connection:ack");
    peer.ackFrame = ack;
    peer.ack = ack.payload;
    return peer;
  }

  get address() {
    return this.ack.session_id ? `session:${this.ack.session_id}` : `agent:${this.ack.agent_id}`;
  }

  send(message) {
    this.socket.send(JSON.stringify(message));
  }

  /** The next frame; its text is kept in `lastText`. */
  async next(withinMs = WITHIN_MS) {
    if (this.#frames.length === 0) {
      const woken = new Promise((resolve) => {
        this.#wake = resolve;
      });
      if (this.socket.readyState <= WebSocket.OPEN) await within("a frame", woken, withinMs);
    }
    if (this.#frames.length === 0) throw new Error("the connection was closed");
    this.lastText = this.#frames.shift();
    return JSON.parse(this.lastText);
  }

  /**
   * The next frame, which must have this type and these envelope fields; other notices are skipped.
   */
  async expect(type, fields = {}, withinMs = WITHIN_MS) {
    for (;;) {
      const frame = await this.next(withinMs);
      const isIt = frame.type === type && Object.entries(fields).every(([name, value]) => frame[name] === value);
      if (isIt) return frame;
      if (!isNotice(frame)) assert.fail(`expected ${type} ${JSON.stringify(fields)}, received ${this.lastText.slice(0, 600)}`);
    }
  }

  async expectError(code, correlationId) {
    const frame = await this.expect("system:error", { correlation_id: correlationId });
    assert.equal(frame.payload.code, code);
    assert.equal(frame.source, "bridge");
    return frame.payload;
  }

  /** Waits until the connection is closed; returns the close code. */
  async closeCode(withinMs = WITHIN_MS) {
    return within("the close", this.closed, withinMs);
  }

  async close() {
    this.socket.close(1000);
    return this.closeCode();
  }

  terminate() {
    this.socket.terminate();
  }
}

/** A registered session: its id and its secret, in both forms in which the edge returns it. */
export async function register(daemon, headers = {}) {
  const response = await daemon.fetch("edge", "/api/client", { method: "POST", headers });
  assert.equal(response.status, 201);
  const body = await response.json();
  const cookie = response.headers.get("set-cookie");
  return { id: body.client_id, token: body.token, body, setCookie: cookie, cookie: cookie?.split(";")[0], bearer: { authorization: `Bearer ${body.token}` } };
}

export function openAgent(daemon, agentId, options = {}) {
  const query = agentId === undefined ? "" : `?agent_id=${encodeURIComponent(agentId)}`;
  return Peer.open(daemon.url("broker", `/ws/agent${query}`), { headers: { authorization: `Bearer ${daemon.agentKey}` }, ...options });
}

/** A connection of a new session, or of `session`. */
export async function openSession(daemon, { agent, session, ...options } = {}) {
  const owner = session ?? (await register(daemon));
  const query = agent === undefined ? "" : `?agent=${encodeURIComponent(agent)}`;
  const peer = await Peer.open(daemon.url("edge", `/ws/${owner.id}${query}`), { headers: owner.bearer, ...options });
  peer.session = owner;
  return peer;
}

function opened(socket) {
  return new Promise((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("error", reject);
    socket.once("unexpected-response", (_, response) => {
      let body = "";
      response.on("data", (chunk) => (body += chunk));
      response.on("end", () => {
        reject(new Refused(response.statusCode, body));
        socket.terminate();
      });
    });
  });
}

function isNotice(frame) {
  return frame.source === "bridge" && NOTICES.has(frame.type);
}
