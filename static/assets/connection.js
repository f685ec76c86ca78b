// One connection to the bridge that keeps itself alive: registers, dials, notices dead links,
// reconnects. It knows the envelope's head and the close codes; its caller interprets the frames.
// No DOM here.
//
//   idle ──start──▶ connecting ──ack──▶ connected ──upstream lost──▶ interrupted ──ack──▶ connected
//                       │                   │                            │
//                       └──── failed ───────┴───────── socket gone ──────┴──▶ reconnecting ──ack──▶ connected
//   any ──stop(), or a close that says "never"──▶ closed ──start──▶ connecting
//
// Invariants: one socket at most; handlers of an abandoned socket do nothing; a timer runs only in
// the state it serves.

import { delayMs } from "./backoff.js";
import { Action, onClose } from "./close-codes.js";
import { newId } from "./ids.js";

export const State = Object.freeze({
  IDLE: "idle",
  CONNECTING: "connecting",
  CONNECTED: "connected",
  INTERRUPTED: "interrupted", // the edge is there, the broker behind it is not
  RECONNECTING: "reconnecting",
  CLOSED: "closed",
});

export const SUBPROTOCOL = "agent-bridge.v1";
export const PING_EVERY_MS = 20_000;
export const PONG_WITHIN_MS = 10_000;
export const ACK_WITHIN_MS = 15_000;
/** A connection that lasted this long is stable: the next loss starts a new series of attempts. */
export const STABLE_AFTER_MS = 5_000;
/**
 * While interrupted, the edge sends a notice at each of its attempts. If it is silent this much
 * longer, it is gone too.
 */
export const INTERRUPTED_GRACE_MS = 75_000;

const MAX_BUFFERED_BYTES = 4 * 1024 * 1024;
const OPEN = 1;

/**
 * A message was not sent. `code` says why: `not_connected`, `message_too_big`, `too_much_unsent`.
 */
export class SendError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "SendError";
    this.code = code;
  }
}

const realClock = {
  setTimeout: (run, ms) => globalThis.setTimeout(run, ms),
  clearTimeout: (timer) => globalThis.clearTimeout(timer),
};

export class BridgeConnection {
  #options;
  #state = State.IDLE;
  #socket = null;
  #dialling = 0; // number of the current attempt; an older one finds itself outdated
  #attempt = 0;
  #registerFirst = true;
  #renewed = false;
  #limitBytes = Infinity;
  #timers = new Map();

  /**
   * `url`: of the socket. `register()`: confirms or makes the session, rejects with `{refused,
   * retryAfterMs}`. `onFrame(frame)`: every frame but the answers to this class's own pings.
   * `onState(state, {reason, retryInMs})`. Tests replace `WebSocket`, `clock` and `random`.
   */
  constructor(options) {
    this.#options = { WebSocket: globalThis.WebSocket, clock: realClock, random: Math.random, ...options };
  }

  get state() {
    return this.#state;
  }

  start() {
    if (this.#state !== State.IDLE && this.#state !== State.CLOSED) return;
    this.#attempt = 0;
    this.#renewed = false;
    this.#registerFirst = true;
    this.#enter(State.CONNECTING);
    this.#dial();
  }

  stop() {
    this.#close("The connection was closed.");
  }

  /**
   * Called when the user or the browser expects a connection: ends a wait, or sends a ping on a
   * quiet link.
   */
  hurry() {
    if (this.#state === State.RECONNECTING && this.#timers.has("retry")) this.#dial();
    else if (this.#state === State.CONNECTED && !this.#timers.has("pong")) this.#ping();
  }

  /** Sends `{type, ...}` and returns its id. Throws `SendError`; nothing is kept for later. */
  send(message) {
    if (this.#state !== State.CONNECTED || this.#socket?.readyState !== OPEN) {
      throw new SendError("not_connected", "not connected to the bridge");
    }
    const envelope = { id: newId(), ...message };
    const text = JSON.stringify(envelope);
    if (new TextEncoder().encode(text).length > this.#limitBytes) {
      throw new SendError("message_too_big", `a message may have ${this.#limitBytes} bytes`);
    }
    if (this.#socket.bufferedAmount > MAX_BUFFERED_BYTES) {
      throw new SendError("too_much_unsent", "the connection is too slow to take more right now");
    }
    this.#socket.send(text);
    return envelope.id;
  }

  async #dial() {
    this.#drop();
    const dialling = ++this.#dialling;
    if (this.#registerFirst) {
      try {
        await this.#options.register();
      } catch (error) {
        if (dialling === this.#dialling) this.#onRefusal(error);
        return;
      }
      if (dialling !== this.#dialling) return;
      this.#registerFirst = false;
    }
    const socket = new this.#options.WebSocket(this.#options.url, [SUBPROTOCOL]);
    this.#socket = socket;
    const current = (handler) => (event) => {
      if (this.#socket === socket) handler(event);
    };
    socket.onmessage = current((event) => this.#onText(event.data));
    socket.onclose = current((event) => this.#onSocketClosed(event.code, event.reason));
    this.#arm("ack", ACK_WITHIN_MS, () => this.#retry("The server did not answer."));
  }

  #onText(text) {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return; // the bridge sends JSON only; whatever this is, it is nobody's
    }
    if (frame === null || typeof frame !== "object") return;
    if (this.#disarm("pong")) this.#arm("ping", PING_EVERY_MS, () => this.#ping());

    if (frame.type === "connection:ack") this.#onAck(frame);
    else if (frame.type === "system:upstream" && frame.source === "edge") this.#onUpstream(frame.payload);
    else if (frame.type === "connection:pong") return;
    this.#options.onFrame(frame);
  }

  #onAck(frame) {
    this.#disarm("ack");
    this.#disarm("silence");
    this.#limitBytes = frame.payload?.limits?.max_frame_bytes ?? Infinity;
    this.#enter(State.CONNECTED);
    this.#arm("ping", PING_EVERY_MS, () => this.#ping());
    this.#arm("stable", STABLE_AFTER_MS, () => {
      this.#attempt = 0;
      this.#renewed = false;
    });
  }

  #onUpstream(payload) {
    this.#disarm("ack");
    if (payload?.state === "lost") {
      for (const timer of ["ping", "pong", "stable"]) this.#disarm(timer);
      this.#enter(State.INTERRUPTED, { reason: "The broker is away.", retryInMs: payload.retry_in_ms });
    }
    const grace = (Number(payload?.retry_in_ms) || 0) + INTERRUPTED_GRACE_MS;
    this.#arm("silence", grace, () => this.#retry("The server fell silent."));
  }

  #ping() {
    if (this.#socket?.readyState !== OPEN) return;
    this.#disarm("ping");
    this.#socket.send(JSON.stringify({ id: newId(), type: "connection:ping" }));
    this.#arm("pong", PONG_WITHIN_MS, () => this.#retry("The link went dead.", { atOnce: true }));
  }

  #onSocketClosed(code, reason) {
    const acknowledged = this.#state === State.CONNECTED || this.#state === State.INTERRUPTED;
    const row = onClose(code);
    // A browser does not learn why an upgrade was refused; confirming the session tells.
    if (!acknowledged) this.#registerFirst = true;
    const why = reason ? `${row.reason} (${reason})` : row.reason;
    switch (row.action) {
      case Action.STOP:
        return this.#close(why);
      case Action.AT_ONCE:
        return this.#retry(why, { atOnce: true });
      case Action.REFRESH:
        this.#registerFirst = true;
        return this.#retry(why, { atOnce: true });
      case Action.RENEW:
        return this.#renew(why);
      default:
        return this.#retry(why);
    }
  }

  #onRefusal(error) {
    if (error.refused) this.#renew(`The server refused this session: ${error.message}.`);
    else this.#retry(`No connection: ${error.message}.`, { atLeastMs: error.retryAfterMs ?? 0 });
  }

  #renew(why) {
    if (this.#renewed) return this.#close(why);
    this.#renewed = true;
    this.#registerFirst = true;
    this.#drop();
    this.#enter(State.RECONNECTING, { reason: why, retryInMs: 0 });
    this.#dial();
  }

  // "At once" holds for the first loss after a stable connection only, so that a server that
  // says so at every attempt is not stormed.
  #retry(why, { atOnce = false, atLeastMs = 0 } = {}) {
    this.#drop();
    const wait = atOnce && this.#attempt === 0 ? 0 : delayMs(this.#attempt, this.#options.random);
    const retryInMs = Math.max(wait, atLeastMs);
    this.#attempt += 1;
    this.#enter(State.RECONNECTING, { reason: why, retryInMs });
    this.#arm("retry", retryInMs, () => this.#dial());
  }

  #close(why) {
    this.#dialling += 1;
    this.#drop();
    this.#enter(State.CLOSED, { reason: why });
  }

  /** Abandons the socket without waiting for the other side, which may be gone. */
  #drop() {
    for (const name of [...this.#timers.keys()]) this.#disarm(name);
    const socket = this.#socket;
    this.#socket = null;
    if (socket && socket.readyState <= OPEN) socket.close(1000);
  }

  #enter(state, detail = {}) {
    this.#state = state;
    this.#options.onState?.(state, detail);
  }

  #arm(name, ms, run) {
    this.#disarm(name);
    const timer = this.#options.clock.setTimeout(() => {
      this.#timers.delete(name);
      run();
    }, ms);
    this.#timers.set(name, timer);
  }

  #disarm(name) {
    const timer = this.#timers.get(name);
    if (timer === undefined) return false;
    this.#options.clock.clearTimeout(timer);
    return this.#timers.delete(name);
  }
}
