import assert from "node:assert/strict";
import { test } from "node:test";

import { register, RegistrationError } from "../../../../static/assets/session.js";

const answering = (status, body, headers = {}) => async () => new Response(JSON.stringify(body), { status, headers });

test("registration posts with the cookie and returns the session", async () => {
  let asked;
  const session = await register(async (path, options) => {
    asked = { path, method: options.method, credentials: options.credentials };
    return new Response(JSON.stringify({ client_id: "c", new_session: true, token: "t" }));
  });
  assert.deepEqual(asked, { path: "/api/client", method: "POST", credentials: "same-origin" });
  assert.equal(session.client_id, "c");
});

test("a refusal is told apart from a server that is away or full", async () => {
  const error = (fetchFn) => register(fetchFn).catch((reason) => reason);
  const refused = await error(answering(403, { error: { code: "forbidden", message: "not for you" } }));
  assert.ok(refused instanceof RegistrationError);
  assert.equal(refused.refused, true);
  assert.equal(refused.message, "not for you");

  const full = await error(answering(503, {}, { "retry-after": "7" }));
  assert.equal(full.refused, false);
  assert.equal(full.retryAfterMs, 7_000);

  const away = await error(async () => {
    throw new TypeError("failed to fetch");
  });
  assert.equal(away.refused, false);
  assert.equal(away.status, 0);
});

test("an answer that names no session is an error", async () => {
  await assert.rejects(register(answering(200, {})), RegistrationError);
  await assert.rejects(register(async () => new Response("<html>")), RegistrationError);
});
