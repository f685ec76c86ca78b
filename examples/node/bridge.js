// A connection to Agent Bridge that reconnects by itself.
//
// It does what docs/protocol.md asks of every client: it reads the limits in `connection:ack`,
// waits for confirmations of durable messages, and reconnects as the close codes of section 8 say.

import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

import { WebSocket } from "ws";

/** Close codes after which reconnecting is of no use (section 8). */
const FINAL_CODES = new Map([
  [1002, "the bridge met a protocol error"],
  [1003, "the bridge met a binary frame"],
  [1007, "the bridge met text that is not UTF-8"],
  [1009, "a message was too long"],
  [4003, "the session has ended, or the key was revoked"],
  [4009, "another program has taken over this agent id"],
  [4400, "the bridge met too many invalid frames"],
]);
/** Close codes after which a client reconnects without waiting. */
const IMMEDIATE_CODES = new Set([4001, 4010]);
/**
 * HTTP statuses of a refused handshake that may pass: too many requests, and a server that is away.
 */
const TEMPORARY_STATUSES = new Set([429, 500, 502, 503, 504]);
const LONGEST_WAIT_MS = 60_000;
/** The bridge sends a ping every few seconds. After this silence the connection is dead. */
const SILENCE_MS = 30_000;

/** Reconnecting is of no use; the message says why. */
export class Final extends Error {}
/** The connection was lost before the bridge confirmed a message. */
export class Lost extends Error {}
/** A message is longer than this peer may send. */
export class TooLong extends Error {}
/** The bridge answered a message with `system:error`. */
export class Refused extends Error {
  constructor({ code, message, temporary }) {
    super(`${code}: ${message}`);
    this.temporary = temporary;
  }
}

export class Connection {
  #socket = null;
  #limits = null;
  #maxSize = 2 * 1024 * 1024; // most messages fit; `connection:ack` says what this client must accept
  #unconfirmed = new Map();

  /** `target` is an async function that returns `{ url, headers }` to dial with. */
  constructor(target) {
    this.target = target;
  }

  /** Yields every frame, across connections. Each connection begins with `connection:ack`. */
  async *frames() {
    for (let attempt = 0; ; ) {
      let wait = null;
      try {
        const { url, headers } = await this.target();
        for await (const frame of this.#dial(url, headers)) {
          if (frame.type === "connection:ack") attempt = 0;
          yield frame;
        }
      } catch (error) {
        if (error instanceof Final) throw error;
        console.error(`connection lost: ${error.message}`);
        wait = error.waitMs ?? null;
      }
      if (wait === null) {
        // Full jitter: clients that lost the same server do not all return at once.
        wait = Math.random() * Math.min(LONGEST_WAIT_MS, 1000 * 2 ** attempt);
        attempt += 1;
      }
      await sleep(wait);
    }
  }

  /** The frames of one connection. Throws when it ends. */
  async *#dial(url, headers) {
    const socket = new WebSocket(url, { headers, maxPayload: this.#maxSize });
    const events = [];
    let wake = () => {};
    const tell = (event) => {
      events.push(event);
      wake();
      // A handler that is slower than the bridge makes the bridge wait, not this program's memory
      // grow.
      if (events.length > 100) socket.pause();
    };
    let silence;
    const heard = () => {
      clearTimeout(silence);
      if (socket.readyState < WebSocket.CLOSING) silence = setTimeout(() => socket.terminate(), SILENCE_MS);
    };
    heard();
    socket.on("ping", heard);
    socket.on("message", (data) => {
      heard();
      tell({ frame: JSON.parse(data.toString()) });
    });
    socket.on("unexpected-response", (_, response) => {
      tell({ error: refusal(response) });
      socket.terminate();
    });
    socket.on("error", (error) => tell({ error }));
    socket.on("close", (code) => tell({ error: closed(code) }));
    this.#socket = socket;
    try {
      for (;;) {
        while (events.length === 0) await new Promise((resolve) => (wake = resolve));
        const { frame, error } = events.shift();
        if (events.length === 0 && socket.isPaused) socket.resume();
        if (error) throw error;
        if (frame.type === "connection:ack") {
          this.#limits = frame.payload.limits;
          if (this.#limits.max_receive_bytes > this.#maxSize) {
            // Dial again, with room for the longest message of others.
            this.#maxSize = this.#limits.max_receive_bytes;
            throw Object.assign(new Error("the bridge sends longer messages"), { waitMs: 0 });
          }
        }
        this.#settle(frame);
        yield frame;
      }
    } finally {
      for (const { reject } of this.#unconfirmed.values()) reject(new Lost("connection lost"));
      this.#unconfirmed.clear();
      await end(socket);
      clearTimeout(silence);
    }
  }

  send(frame) {
    const text = JSON.stringify(frame);
    const limit = this.#limits.max_frame_bytes;
    if (Buffer.byteLength(text) > limit) throw new TooLong(`the message is longer than ${limit} bytes`);
    if (this.#socket.readyState !== WebSocket.OPEN) throw new Lost("connection lost");
    this.#socket.send(text);
  }

  /**
   * Sends a message and returns its position once the bridge has stored it.
   *
   * After `Lost` the message may or may not be stored. Send it again with the same `id`: the bridge
   * recognises the repetition and delivers the message once.
   */
  async sendDurable(frame) {
    const confirmed = new Promise((resolve, reject) => this.#unconfirmed.set(frame.id, { resolve, reject }));
    try {
      this.send({ ...frame, delivery: "durable" });
      return await confirmed;
    } finally {
      this.#unconfirmed.delete(frame.id);
    }
  }

  /** Tells whoever waits for the confirmation of a message. */
  #settle(frame) {
    const waiting = this.#unconfirmed.get(frame.correlation_id);
    if (frame.type === "message:accepted") waiting?.resolve(frame.payload);
    else if (frame.type === "system:error") waiting?.reject(new Refused(frame.payload));
  }
}

/** Closes a socket, and waits until what was sent has left. */
async function end(socket) {
  if (socket.readyState === WebSocket.CLOSED) return;
  socket.resume();
  socket.close();
  await once(socket, "close");
}

/** What a refused handshake means. */
function refusal(response) {
  const text = `HTTP ${response.statusCode}`;
  if (!TEMPORARY_STATUSES.has(response.statusCode)) return new Final(text);
  const seconds = Number(response.headers["retry-after"]);
  return Object.assign(new Error(text), seconds > 0 ? { waitMs: seconds * 1000 } : {});
}

/** What a close code means. */
function closed(code) {
  if (FINAL_CODES.has(code)) return new Final(FINAL_CODES.get(code));
  return Object.assign(new Error(`closed with ${code}`), IMMEDIATE_CODES.has(code) ? { waitMs: 0 } : {});
}
