import assert from "node:assert/strict";
import { test } from "node:test";

import { LoginError, shortened, signIn, signOut } from "../../../../static/assets/login.js";

const ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7";

function wallet(changes = {}) {
  const asked = [];
  const answers = { eth_requestAccounts: [ADDRESS], eth_chainId: "0x89", personal_sign: "0xsigned", ...changes };
  const request = async ({ method, params }) => {
    asked.push({ method, params });
    const answer = answers[method];
    if (answer instanceof Error) throw answer;
    return answer;
  };
  return { request, asked };
}

function edge(answers) {
  const posted = [];
  const fetchFn = async (path, options) => {
    posted.push({ path, body: JSON.parse(options.body), credentials: options.credentials });
    const [status, body] = answers[path];
    return new Response(status === 204 ? null : JSON.stringify(body), { status });
  };
  return { fetchFn, posted };
}

const LETS_IN = {
  "/auth/challenge": [200, { message: "text é", nonce: "n" }],
  "/auth/verify": [200, { client_id: "c", wallet_address: ADDRESS }],
};

test("signing in asks the wallet for the edge's text and hands the signature back", async () => {
  const { request, asked } = wallet();
  const { fetchFn, posted } = edge(LETS_IN);
  const session = await signIn({ wallet: { request }, socketId: "s-1", fetchFn });
  assert.equal(session.wallet_address, ADDRESS);
  assert.deepEqual(posted, [
    { path: "/auth/challenge", body: { address: ADDRESS, chain_id: 137 }, credentials: "same-origin" },
    { path: "/auth/verify", body: { message: "text é", signature: "0xsigned", sockets: ["s-1"] }, credentials: "same-origin" },
  ]);
  assert.deepEqual(asked.at(-1), { method: "personal_sign", params: ["0x7465787420c3a9", ADDRESS] });
});

test("a person who changes their mind is told apart from a wallet or an edge that refuses", async () => {
  const fail = (options) => signIn({ socketId: null, ...options }).catch((error) => error);
  const cancelled = await fail({ wallet: wallet({ personal_sign: Object.assign(new Error("no"), { code: 4001 }) }), ...edge(LETS_IN) });
  assert.ok(cancelled instanceof LoginError && cancelled.cancelled);
  const broken = await fail({ wallet: wallet({ eth_requestAccounts: new Error("locked") }), ...edge(LETS_IN) });
  assert.ok(!broken.cancelled && broken.message.includes("locked"));
  const empty = await fail({ wallet: wallet({ eth_requestAccounts: [] }), ...edge(LETS_IN) });
  assert.match(empty.message, /no account/);
  const refused = await fail({ wallet: wallet(), ...edge({ "/auth/challenge": [403, { error: { code: "siwe_chain_not_allowed", message: "not there" } }] }) });
  assert.deepEqual([refused.code, refused.message, refused.cancelled], ["siwe_chain_not_allowed", "not there", false]);
});

test("signing out ends the session", async () => {
  const { fetchFn, posted } = edge({ "/auth/logout": [204, null] });
  await signOut(fetchFn);
  assert.equal(posted[0].path, "/auth/logout");
});

test("addresses are shown by their ends", () => {
  assert.equal(shortened(ADDRESS), "0x5290…9EE7");
  assert.equal(shortened("ann"), "ann");
});
