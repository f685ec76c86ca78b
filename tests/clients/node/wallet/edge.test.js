// Real wallets and real tokens at a running edge: what their libraries make logs in, and what an
// attacker makes from it is refused.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { SignJWT } from "jose";
import { SiweMessage } from "siwe";
import { parseSiweMessage } from "viem/siwe";
import { Daemon } from "../harness/daemon.js";
import { Peer, openAgent, register } from "../harness/wire.js";
import { ethersSigner, kit, settings, sign, signer } from "./logins.js";
import { tokens } from "./tokens.js";

const WALLETS = {
  SIWE_DOMAIN: settings.domain,
  AGENT_BRIDGE_AUTH__SIWE_URI: settings.uri,
  AGENT_BRIDGE_AUTH__SIWE_STATEMENT: settings.statement,
  AGENT_BRIDGE_AUTH__SIWE_CHAINS: settings.chains.join(","),
};

async function post(daemon, path, session, body) {
  const headers = { "content-type": "application/json", ...(session && { cookie: session.cookie }) };
  const response = await daemon.fetch("edge", path, { method: "POST", headers, body: JSON.stringify(body) });
  const answer = response.status === 204 ? null : await response.json();
  return { status: response.status, body: answer, code: answer?.error?.code ?? null, cookie: response.headers.get("set-cookie")?.split(";")[0] };
}

/** A new session, and the challenge it was given. */
async function challenged(daemon, address = signer.address, chain_id = 1) {
  const session = await register(daemon);
  const { body } = await post(daemon, "/auth/challenge", session, { address, chain_id });
  return { session, ...body };
}

describe("a wallet at the edge", () => {
  let daemon;
  before(async () => {
    daemon = await Daemon.start({ env: WALLETS });
  });
  after(() => daemon?.stop());

  for (const [name, signs, chain] of [
    ["viem", (message) => sign(message), 1],
    ["ethers", (message) => ethersSigner.signMessage(message), 137],
  ]) {
    test(`${name} logs a session in while its socket is open`, async (context) => {
      const agent = await openAgent(daemon, `watcher-${name}`);
      const { session, message, nonce } = await challenged(daemon, signer.address, chain);
      const socket = await Peer.open(daemon.url("edge", `/ws?agent=watcher-${name}`), { headers: { cookie: session.cookie } });
      const stranger = await Peer.open(daemon.url("edge", `/ws?agent=watcher-${name}`), { headers: { cookie: session.cookie } });
      context.after(() => [agent, socket, stranger].forEach((peer) => peer.terminate()));

      // What is to be signed is what wallets and libraries know.
      const parsed = new SiweMessage(message);
      assert.equal(parsed.prepareMessage(), message);
      assert.deepEqual([parsed.domain, parsed.uri, parsed.address, parsed.chainId, parsed.nonce, parsed.statement], [settings.domain, settings.uri, signer.address, chain, nonce, settings.statement]);
      assert.equal(parseSiweMessage(message).address, signer.address);

      const login = await post(daemon, "/auth/verify", session, { message, signature: await signs(message), sockets: [socket.ack.socket_id] });
      assert.equal(login.status, 200, JSON.stringify(login.body));
      assert.equal(login.body.client_id, session.id);
      assert.equal(login.body.wallet_address, signer.address);
      const told = await agent.expect("session:identified");
      assert.equal(told.payload.session_id, session.id);
      assert.equal(told.payload.wallet_address, signer.address);
      assert.equal(told.payload.user_id, `wallet:${signer.address}`);
      assert.equal((await socket.expect("session:identified")).payload.user_id, `wallet:${signer.address}`);
      assert.equal(await stranger.closeCode(), 4001);

      socket.send({ type: "message:send", delivery: "ephemeral", payload: { text: "still here" } });
      assert.equal((await agent.expect("message:send")).source, `session:${session.id}`);
      agent.send({ type: "note:user", target: `user:wallet:${signer.address}`, payload: 1 });
      await socket.expect("note:user");

      const out = await post(daemon, "/auth/logout", { cookie: login.cookie }, {});
      assert.equal(out.status, 204);
      assert.equal(await socket.closeCode(1_000), 4003, "within a second");
      const after_ = await register(daemon, { cookie: login.cookie });
      assert.notEqual(after_.id, session.id);
      assert.equal(after_.body.is_authenticated, false);
    });
  }

  test("every tampered login is refused with its own code", async () => {
    const other = await challenged(daemon);
    // Each with its own challenge: the first answer uses it up.
    const attempt = async (make) => {
      const { session, message, nonce } = await challenged(daemon);
      const now = Date.parse(new SiweMessage(message).issuedAt);
      const made = kit({ now, nonce, otherNonce: other.nonce });
      assert.equal(made.text(), message, "the kit makes the text that the edge made");
      return post(daemon, "/auth/verify", session, await make(made, message));
    };
    const names = kit({ now: Date.now(), nonce: other.nonce, otherNonce: "x".repeat(24) });
    const texts = names.changedTexts().map(([name, code]) => [name, code]);
    const signatures = (await names.changedSignatures()).map(([name, code]) => [name, code]);
    const outcomes = [];
    for (const [place, [name, code]] of texts.entries()) {
      const answer = await attempt(async (made) => {
        const [, , message] = made.changedTexts()[place];
        return { message, signature: await sign(message) };
      });
      outcomes.push([name, code, answer]);
    }
    for (const [place, [name, code]] of signatures.entries()) {
      const answer = await attempt(async (made, message) => ({ message, signature: (await made.changedSignatures())[place][2] }));
      outcomes.push([name, code, answer]);
    }
    for (const [name, code, answer] of outcomes) {
      assert.equal(answer.code, code, `${name}: ${JSON.stringify(answer.body)}`);
      assert.ok(answer.status >= 400 && answer.cookie === undefined, name);
    }
    assert.ok(outcomes.length >= 70, `${outcomes.length} variants`);
  });

  test("a nonce is good once, in the session it was given to", async () => {
    const { session, message } = await challenged(daemon);
    const proof = { message, signature: await sign(message) };
    assert.equal((await post(daemon, "/auth/verify", await register(daemon), proof)).code, "siwe_nonce_of_another_session");
    const login = await post(daemon, "/auth/verify", session, proof);
    assert.equal(login.status, 200);
    assert.equal((await post(daemon, "/auth/verify", { cookie: login.cookie }, proof)).code, "siwe_nonce_used");
    assert.equal((await post(daemon, "/auth/verify", session, proof)).code, "credentials_expired", "the token before the login");
  });
});

describe("tokens made by jose at the edge", () => {
  let server, daemons, fixture, fetches;
  before(async () => {
    fixture = await tokens(Math.floor(Date.now() / 1000), "a-test-secret-without-spaces-as-the-configuration-wants-them-64!");
    fetches = 0;
    server = createServer((_, response) => {
      fetches += 1;
      response.setHeader("content-type", "application/json").end(JSON.stringify(fixture.jwks));
    }).listen(0, "127.0.0.1").unref();
    await once(server, "listening");
    // The fixture's times are for a leeway of a minute, some by a fraction of a second; here time
    // passes meanwhile.
    const issuer = { JWT_ISSUER: fixture.issuer, JWT_AUDIENCE: fixture.audience, AGENT_BRIDGE_AUTH__JWT_LEEWAY: "30s" };
    const start = (env) => Daemon.start({ env: { ...issuer, ...env } });
    const [secret, keys] = await Promise.all([
      start({ JWT_SECRET: fixture.secret, AGENT_BRIDGE_AUTH__JWT_ALGORITHMS: "HS256,HS384,HS512" }),
      start({
        JWKS_URL: `http://127.0.0.1:${server.address().port}/keys`,
        AGENT_BRIDGE_AUTH__JWT_ALGORITHMS: "RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,EdDSA",
      }),
    ]);
    daemons = { secret, keys };
  });
  after(() => {
    server?.close();
    return Promise.all(Object.values(daemons ?? {}).map((daemon) => daemon.stop()));
  });

  test("every algorithm logs in, and opens a socket as a subprotocol", async () => {
    for (const { name, trust, token } of fixture.good) {
      const login = await post(daemons[trust], "/auth/token", null, { token });
      assert.equal(login.status, 201, `${name}: ${JSON.stringify(login.body)}`);
      assert.equal(login.body.user_id, "ann");
      const socket = await Peer.open(daemons[trust].url("edge", "/ws"), { protocols: ["agent-bridge.v1", `bearer.${token}`] });
      assert.equal(socket.socket.protocol, "agent-bridge.v1");
      await socket.close();
    }
    assert.ok(fixture.good.length >= 14);
    assert.equal(fetches, 1, "the keys are kept");
  });

  test("every forged token is refused with its own code", async () => {
    for (const { name, trust, code, token } of fixture.forged) {
      const login = await post(daemons[trust], "/auth/token", null, { token });
      assert.equal(login.code, code, `${name}: ${JSON.stringify(login.body)}`);
      assert.equal(login.cookie, undefined);
    }
    assert.ok(fixture.forged.length >= 60);
    assert.ok(fetches <= 2, `unknown key ids made ${fetches} fetches`);
  });

  test("a session is its token's user, and no other", async () => {
    const [{ token }] = fixture.good;
    const session = await register(daemons.secret);
    const login = await post(daemons.secret, "/auth/token", session, { token });
    assert.deepEqual([login.status, login.body.client_id, login.body.user_id], [200, session.id, "ann"]);
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: fixture.issuer, aud: fixture.audience, sub: "bob", iat: now, exp: now + 60 };
    const bobs = await new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).sign(new TextEncoder().encode(fixture.secret));
    assert.equal((await post(daemons.secret, "/auth/token", { cookie: login.cookie }, { token: bobs })).code, "already_logged_in");
  });

  test("later credentials keep an open socket open", async (context) => {
    const now = Math.floor(Date.now() / 1000);
    const leeway = 30;
    const of_ = (sub, exp) =>
      new SignJWT({ iss: fixture.issuer, aud: fixture.audience, sub, iat: now, exp }).setProtectedHeader({ alg: "HS256" }).sign(new TextEncoder().encode(fixture.secret));
    const socket = await Peer.open(daemons.secret.url("edge", "/ws"), { protocols: ["agent-bridge.v1", `bearer.${await of_("ann", now + 8 - leeway)}`] });
    context.after(() => socket.terminate());
    // After half of its time, with the leeway.
    assert.ok(Date.parse((await socket.expect("connection:expiring", {}, 10_000)).payload.expires_at) <= (now + 8) * 1000);
    socket.send({ id: "r1", type: "connection:refresh", payload: { token: await of_("ann", now + 3000) } });
    const refreshed = await socket.expect("connection:refreshed", { correlation_id: "r1" });
    assert.equal(Date.parse(refreshed.payload.expires_at), (now + 3000 + leeway) * 1000);
    socket.send({ id: "r2", type: "connection:refresh", payload: { token: await of_("bob", now + 3000) } });
    assert.equal((await socket.expect("system:error", { correlation_id: "r2" })).payload.code, "forbidden");
  });
});
