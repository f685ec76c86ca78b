// The fixtures in identity/tests are what the libraries of wallets and tokens make and accept.
import assert from "node:assert/strict";
import { test } from "node:test";
import { verifyMessage as ethersVerify } from "ethers";
import { createLocalJWKSet, jwtVerify } from "jose";
import { SiweMessage } from "siwe";
import { verifyMessage as viemVerify } from "viem";
import { read } from "./files.js";
import { logins } from "./logins.js";

test("the logins are those that the wallets make today", async () => {
  assert.deepEqual(read("logins.json"), JSON.parse(JSON.stringify(await logins())));
});

test("viem, ethers and siwe accept every good login", async () => {
  const { good, own, now_ms } = read("logins.json");
  for (const { name, message, signature } of good) {
    assert.ok(await viemVerify({ address: own.address, message, signature }), name);
    assert.equal(ethersVerify(message, name.includes("zero") ? signature.replace(/00$/, "1b").replace(/01$/, "1c") : signature), own.address, name);
    const result = await new SiweMessage(message).verify({ signature, nonce: own.nonce, domain: "app.example", time: new Date(now_ms).toISOString() });
    assert.ok(result.success, name);
  }
});

test("jose accepts every good token and no forged one", async () => {
  const { good, forged, jwks, secret, issuer, audience, now } = read("tokens_jose.json");
  const keys = { secret: new TextEncoder().encode(secret), keys: createLocalJWKSet(jwks) };
  const options = { issuer, audience, currentDate: new Date(now * 1000), clockTolerance: 60 };
  const verify = ({ trust, token }) => jwtVerify(token, keys[trust], options);
  for (const entry of good) await assert.doesNotReject(verify(entry), entry.name);
  // What jose leaves to its callers, and we refuse.
  const ours = new Set([
    "algorithm twice", "algorithm twice, once escaped", "subject twice", "type of a logout token", "type of a proof of possession",
    "longer than any token", "no expiry", "expiry in milliseconds", "expiry before 1970", "issued in the future", "no subject",
    "subject that is a number", "subject of a wallet's user", "payload not encoded", "padding", "space around", "plain base64", "issuers in a list",
  ]);
  for (const entry of forged.filter(({ name }) => !ours.has(name))) await assert.rejects(verify(entry), undefined, entry.name);
});
