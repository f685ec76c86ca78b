import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Action, CLOSE_CODES, onClose } from "../../../../static/assets/close-codes.js";

/** The rows of docs/protocol.md, section 8: code and advice. */
function documentedRows() {
  const page = readFileSync(new URL("../../../../docs/protocol.md", import.meta.url), "utf8");
  const section = page.slice(page.indexOf("## 8. Close codes"));
  return [...section.matchAll(/^\| (\d{4}) \| .* \| (.*) \|$/gm)].map(([, code, advice]) => ({ code, advice }));
}

/** What the page's actions may be for a piece of advice. */
function allowed(advice) {
  if (advice.startsWith("reconnect with backoff")) return [Action.BACKOFF];
  if (advice.startsWith("reconnect at once")) return [Action.AT_ONCE];
  if (advice.startsWith("refresh credentials")) return [Action.REFRESH];
  if (advice.startsWith("never reconnect with these credentials")) return [Action.RENEW];
  if (advice.startsWith("do not send the same message again")) return [Action.STOP, Action.BACKOFF];
  return [Action.STOP];
}

test("every documented close code is in the table, with the documented advice", () => {
  const rows = documentedRows();
  assert.ok(rows.length >= 15, "the table of the protocol was not found");
  for (const { code, advice } of rows) {
    assert.ok(allowed(advice).includes(CLOSE_CODES[code]?.action), `${code}: ${advice}`);
  }
  assert.deepEqual(Object.keys(CLOSE_CODES).sort(), rows.map(({ code }) => code).sort());
});

test("codes nobody wrote down are met with a backoff", () => {
  for (const code of [1005, 1006, 1015, 3000, 4999, undefined, "toString"]) {
    assert.equal(onClose(code).action, Action.BACKOFF, String(code));
  }
});

test("every row says why in words", () => {
  for (const row of Object.values(CLOSE_CODES)) assert.match(row.reason, /^[A-Z].*\.$/);
});
