import assert from "node:assert/strict";
import { test } from "node:test";

import { ceilingMs, delayMs } from "../../../../static/assets/backoff.js";

test("the ceiling doubles from one second to one minute and stays there", () => {
  const ceilings = [0, 1, 2, 3, 4, 5, 6, 7, 1_000].map(ceilingMs);
  assert.deepEqual(ceilings, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
});

test("the wait is anywhere between nothing and the ceiling", () => {
  assert.equal(delayMs(3, () => 0), 0);
  assert.equal(delayMs(3, () => 0.5), 4_000);
  assert.equal(delayMs(3, () => 0.999999), 7_999);
  assert.equal(delayMs(0, () => 0.999999), 999);
});

test("waits are spread over the whole interval", () => {
  const waits = Array.from({ length: 2_000 }, () => delayMs(10));
  assert.ok(Math.min(...waits) < 5_000);
  assert.ok(Math.max(...waits) > 55_000);
  assert.ok(waits.every((wait) => wait >= 0 && wait < 60_000));
});
