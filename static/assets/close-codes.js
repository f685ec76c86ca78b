// What to do when the socket closes, by close code (docs/protocol.md, section 8).

/** What a client does after a close. */
export const Action = Object.freeze({
  STOP: "stop", // stay closed until the user asks
  AT_ONCE: "at_once", // connect again without a wait
  BACKOFF: "backoff", // connect again after a random, growing wait
  REFRESH: "refresh", // confirm the session, then connect at once
  RENEW: "renew", // these credentials are spent: register again, once
});

export const CLOSE_CODES = Object.freeze({
  1000: { action: Action.STOP, reason: "The connection was closed." },
  1001: { action: Action.BACKOFF, reason: "The server went away." },
  1002: { action: Action.STOP, reason: "The server saw a protocol error." },
  1003: { action: Action.STOP, reason: "The server does not take binary frames." },
  1007: { action: Action.STOP, reason: "The server received text that is not UTF-8." },
  // The same message must not be sent again; nothing is ever sent again by itself here.
  1009: { action: Action.BACKOFF, reason: "A message was too big." },
  1011: { action: Action.BACKOFF, reason: "The server had an internal error." },
  1012: { action: Action.BACKOFF, reason: "The server restarts." },
  1013: { action: Action.BACKOFF, reason: "The server is full." },
  4001: { action: Action.REFRESH, reason: "The credentials expired." },
  4003: { action: Action.RENEW, reason: "The session ended." },
  4008: { action: Action.BACKOFF, reason: "This page read too slowly." },
  4009: { action: Action.STOP, reason: "A newer connection took over." },
  4010: { action: Action.AT_ONCE, reason: "The server heard nothing from this page." },
  // This page uses no client name: its edge assigns one to each socket.
  4011: { action: Action.BACKOFF, reason: "Another connection took this one's name." },
  4029: { action: Action.BACKOFF, reason: "This page sent too much for too long." },
  4400: { action: Action.STOP, reason: "The server saw too many invalid frames." },
});

// 1006 (no close frame), 1005 (no code) and codes of later versions.
const OTHER = Object.freeze({ action: Action.BACKOFF, reason: "The connection was lost." });

/** The row for `code`; never undefined. */
export function onClose(code) {
  return Object.hasOwn(CLOSE_CODES, code) ? CLOSE_CODES[code] : OTHER;
}
