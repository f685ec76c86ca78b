// How long to wait before another attempt: exponential with full jitter (docs/protocol.md, section
// 8). Full jitter spreads the clients that lost the same server evenly over the whole interval.

export const BASE_MS = 1_000;
export const LIMIT_MS = 60_000;

/** The longest wait before attempt number `attempt`, counted from 0. */
export function ceilingMs(attempt) {
  return Math.min(LIMIT_MS, BASE_MS * 2 ** Math.min(Math.max(attempt, 0), 30));
}

/** A random wait between 0 and `ceilingMs(attempt)`; `random` yields numbers in [0, 1). */
export function delayMs(attempt, random = Math.random) {
  return Math.floor(random() * ceilingMs(attempt));
}
