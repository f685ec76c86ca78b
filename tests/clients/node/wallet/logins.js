// The logins of identity/tests/fixtures/logins.json: challenges signed by viem, ethers and siwe,
// and what an attacker makes of them. Everything is fixed (keys, nonces, times) and the signatures
// are deterministic (RFC 6979), so the file can be reproduced.
import { Wallet } from "ethers";
import { SiweMessage } from "siwe";
import { privateKeyToAccount } from "viem/accounts";
import { createSiweMessage } from "viem/siwe";

// Test keys: public, without value.
const KEY = `0x${"11".repeat(32)}`;
const OTHER_KEY = `0x${"22".repeat(32)}`;
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

export const LIFETIME = 300_000;
const MINUTE = 60_000;

export const settings = {
  domain: "app.example",
  uri: "https://app.example/login",
  statement: "Sign in to the bridge.",
  chains: [1, 137],
  lifetime_ms: LIFETIME,
};

export const signer = privateKeyToAccount(KEY);
export const stranger = privateKeyToAccount(OTHER_KEY);
export const ethersSigner = new Wallet(KEY);
export const sign = (message, account = signer) => account.signMessage({ message });

const instant = (milliseconds) => new Date(milliseconds).toISOString();

const bytesOf = (signature) => signature.slice(2).match(/../g);
const hex = (bytes) => `0x${bytes.join("")}`;
const word = (number) => number.toString(16).padStart(64, "0").match(/../g);
const withLast = (signature, byte) => hex([...bytesOf(signature).slice(0, 64), byte]);
const withHighS = (signature) => {
  const bytes = bytesOf(signature);
  const s = BigInt(hex(bytes.slice(32, 64)));
  return hex([...bytes.slice(0, 32), ...word(ORDER - s), bytes[64] === "1b" ? "1c" : "1b"]);
};

const parsesWithSiwe = (message) => {
  try {
    return new SiweMessage(message).prepareMessage() === message;
  } catch {
    return false;
  }
};

// Everything that can be made of a challenge of this moment with this nonce; another session has
// the other one.
export function kit({ now: NOW, nonce: NONCE, otherNonce: OTHER_NONCE }) {
  const fields = (changes = {}) => ({
    domain: settings.domain,
    address: signer.address,
    statement: settings.statement,
    uri: settings.uri,
    version: "1",
    chainId: 1,
    nonce: NONCE,
    issuedAt: instant(NOW),
    expirationTime: instant(NOW + LIFETIME),
    ...changes,
  });
  const text = (changes) => new SiweMessage(fields(changes)).prepareMessage();
  const viemText = (changes) => {
    const all = fields(changes);
    const dates = ["issuedAt", "expirationTime", "notBefore"].filter((name) => all[name]).map((name) => [name, new Date(all[name])]);
    return createSiweMessage({ ...all, ...Object.fromEntries(dates) });
  };
  async function goodLogins() {
    const plain = text();
    const polygon = text({ chainId: 137 });
    return [
      { name: "text by siwe, signature by viem", chain: 1, message: plain, signature: await sign(plain) },
      { name: "text by viem, signature by viem", chain: 1, message: viemText(), signature: await sign(viemText()) },
      { name: "text by siwe, signature by ethers", chain: 1, message: plain, signature: await ethersSigner.signMessage(plain) },
      { name: "text by viem, signature by ethers on another chain", chain: 137, message: viemText({ chainId: 137 }), signature: await ethersSigner.signMessage(polygon) },
      { name: "recovery byte counted from zero", chain: 1, message: plain, signature: await withLastFromZero(plain) },
    ];
  }

  async function withLastFromZero(message) {
    const signature = await sign(message);
    return withLast(signature, signature.endsWith("1b") ? "00" : "01");
  }

  // What is changed in the text is signed again by the rightful key: only the check in question can
  // refuse it.
  const changedTexts = () => {
    const good = text();
    const change = (from, to) => {
      if (!good.includes(from)) throw new Error(`nothing to change: ${from}`);
      return good.replace(from, to);
    };
    return [
      ["domain of another site", "siwe_domain_mismatch", text({ domain: "evil.example" })],
      ["domain with another port", "siwe_domain_mismatch", text({ domain: "app.example:8443" })],
      ["domain as a subdomain", "siwe_domain_mismatch", text({ domain: "app.example.evil.example" })],
      ["domain behind a user name", "siwe_domain_mismatch", text({ domain: "app.example@evil.example" })],
      ["domain in capitals", "siwe_domain_mismatch", text({ domain: "APP.example" })],
      ["domain with a letter of another script", "siwe_characters", change("app.example wants", "\u0430pp.example wants")],
      ["domain that is none", "siwe_domain_malformed", change("app.example wants", "#app wants")],
      ["no domain", "siwe_domain_malformed", change("app.example wants", " wants")],
      ["uri of another site", "siwe_uri_mismatch", text({ uri: "https://evil.example/login" })],
      ["uri with another path", "siwe_uri_mismatch", text({ uri: "https://app.example/login/" })],
      ["uri that is none", "siwe_uri_malformed", change("URI: https://app.example/login", "URI: :login")],
      ["version 2", "siwe_version_unsupported", change("Version: 1", "Version: 2")],
      ["chain that is not allowed", "siwe_chain_not_allowed", text({ chainId: 5 })],
      ["chain other than asked for", "siwe_chain_mismatch", text({ chainId: 137 })],
      ["chain with a leading zero", "siwe_chain_malformed", change("Chain ID: 1", "Chain ID: 01")],
      ["chain that is no number", "siwe_chain_malformed", change("Chain ID: 1", "Chain ID: one")],
      ["nonce that was never given out", "siwe_nonce_unknown", text({ nonce: "neverGivenOut123" })],
      ["nonce cut short", "siwe_nonce_unknown", text({ nonce: NONCE.slice(0, -1) })],
      ["nonce in other capitals", "siwe_nonce_unknown", text({ nonce: NONCE.toLowerCase() })],
      ["nonce too short to be one", "siwe_nonce_malformed", change(NONCE, NONCE.slice(0, 7))],
      ["nonce with a dash", "siwe_nonce_malformed", change(NONCE, `${NONCE.slice(0, 8)}-${NONCE.slice(9, 16)}`)],
      ["nonce of another session", "siwe_nonce_of_another_session", text({ nonce: OTHER_NONCE })],
      ["address in lower case", "siwe_address_checksum", change(signer.address, signer.address.toLowerCase())],
      ["address in upper case", "siwe_address_checksum", change(signer.address, `0x${signer.address.slice(2).toUpperCase()}`)],
      ["address cut short", "siwe_address_malformed", change(signer.address, signer.address.slice(0, -1))],
      ["address without 0x", "siwe_address_malformed", change(signer.address, `00${signer.address.slice(2)}`)],
      ["expiry put off", "siwe_message_altered", text({ expirationTime: instant(NOW + 10 * LIFETIME) })],
      ["expiry left out", "siwe_message_altered", text({ expirationTime: undefined })],
      ["expiry in the past", "siwe_expired", text({ expirationTime: instant(NOW - MINUTE / 2) })],
      ["expiry that is no time", "siwe_time_malformed", change(instant(NOW + LIFETIME), instant(NOW + LIFETIME).replace(/-\d\d-\d\dT/, "-02-30T"))],
      ["issued in the future", "siwe_issued_in_future", text({ issuedAt: instant(NOW + MINUTE) })],
      ["issued earlier", "siwe_message_altered", text({ issuedAt: instant(NOW - 1000) })],
      ["issued in another notation", "siwe_message_altered", change(instant(NOW), `${instant(NOW + 3_600_000).slice(0, -1)}+01:00`)],
      ["not valid before a later time", "siwe_not_yet_valid", text({ notBefore: instant(NOW + MINUTE) })],
      ["not valid before an earlier time", "siwe_message_altered", text({ notBefore: instant(NOW - 1000) })],
      ["statement changed", "siwe_message_altered", text({ statement: "Sign in to the bridge!" })],
      ["statement left out", "siwe_message_altered", text({ statement: undefined })],
      ["statement of two lines", "siwe_malformed", change("Sign in to the bridge.", "Sign in\nto the bridge.")],
      ["statement in quotes", "siwe_statement_malformed", change("Sign in to the bridge.", '"Sign in" to the bridge.')],
      ["statement with an emoji", "siwe_characters", change("the bridge", "the \u{1f309}")],
      ["statement with a bell", "siwe_characters", change("the bridge", "the \u0007 bridge")],
      ["request id added", "siwe_message_altered", text({ requestId: "r-1" })],
      ["request id with a space", "siwe_request_id_malformed", `${good}\nRequest ID: r 1`],
      ["resources added", "siwe_message_altered", text({ resources: ["https://evil.example/"] })],
      ["resource that is none", "siwe_resource_malformed", `${good}\nResources:\n- not a uri`],
      ["scheme added", "siwe_message_altered", change("app.example wants", "https://app.example wants")],
      ["empty line at the end", "siwe_extra_content", `${good}\n`],
      ["line of its own at the end", "siwe_extra_content", `${good}\nAdmin: true`],
      ["second nonce line", "siwe_extra_content", `${good}\nNonce: ${OTHER_NONCE}`],
      ["second nonce line in its place", "siwe_malformed", change(`Nonce: ${NONCE}`, `Nonce: ${NONCE}\nNonce: ${OTHER_NONCE}`)],
      ["lines in another order", "siwe_malformed", change("Version: 1\nChain ID: 1", "Chain ID: 1\nVersion: 1")],
      ["no line for the URI", "siwe_malformed", change("URI: https://app.example/login\n", "")],
      ["line ends of Windows", "siwe_line_endings", good.replaceAll("\n", "\r\n")],
      ["space at the end of a line", "siwe_version_unsupported", change("Version: 1\n", "Version: 1 \n")],
      ["other preamble", "siwe_malformed", change("wants you to sign in with your Ethereum account", "wants you to sign in with your Bitcoin account")],
      ["a message of another kind", "siwe_malformed", "hello"],
      ["a message too long to be one", "siwe_message_too_long", `${good}\nResources:${"\n- https://app.example/".repeat(200)}`],
    ];
  };

  async function changedSignatures() {
    const good = text();
    const signature = await sign(good);
    const bytes = bytesOf(signature);
    return [
      ["signature of another wallet", "siwe_wrong_signer", await sign(good, stranger)],
      ["signature over another text", "siwe_wrong_signer", await sign(`${good} `)],
      ["signature over the bare hash", "siwe_wrong_signer", await signer.sign({ hash: `0x${"33".repeat(32)}` })],
      ["the other recovery byte", "siwe_wrong_signer", withLast(signature, signature.endsWith("1b") ? "1c" : "1b")],
      ["recovery byte 2", "siwe_signature_recovery", withLast(signature, "02")],
      ["recovery byte 29", "siwe_signature_recovery", withLast(signature, "1d")],
      ["recovery byte of EIP-155", "siwe_signature_recovery", withLast(signature, "25")],
      ["s in the upper half", "siwe_signature_high_s", withHighS(signature)],
      ["one byte short", "siwe_signature_length", hex(bytes.slice(0, 64))],
      ["one byte too many", "siwe_signature_length", hex([...bytes, "00"])],
      ["compact form of EIP-2098", "siwe_signature_length", hex([...bytes.slice(0, 32), ...bytes.slice(32, 64)])],
      ["no byte at all", "siwe_signature_length", "0x"],
      ["r is zero", "siwe_signature_range", hex([...word(0n), ...bytes.slice(32)])],
      ["s is the order of the curve", "siwe_signature_range", hex([...bytes.slice(0, 32), ...word(ORDER), bytes[64]])],
      ["all zeros", "siwe_signature_range", hex([...word(0n), ...word(0n), "1b"])],
      ["no 0x", "siwe_signature_encoding", signature.slice(2)],
      ["half a byte", "siwe_signature_encoding", signature.slice(0, -1)],
      ["not hexadecimal", "siwe_signature_encoding", `0x${"zz".repeat(65)}`],
      ["longer than any signature", "siwe_message_too_long", `0x${"00".repeat(4096)}`],
    ];
  }

  async function tampered() {
    const good = text();
    const signature = await sign(good);
    const step = (code, changes = {}) => ({ session: "own", message: good, signature, at_ms: NOW + 1000, code, ...changes });
    const others = text({ nonce: OTHER_NONCE, address: stranger.address });
    const cases = [];
    for (const [name, code, message] of changedTexts()) {
      cases.push({ name, siwe_parses: parsesWithSiwe(message), steps: [step(code, { message, signature: await sign(message) })] });
    }
    for (const [name, code, changed] of await changedSignatures()) {
      cases.push({ name, siwe_parses: true, steps: [step(code, { signature: changed })] });
    }
    const sequences = [
      ["the same answer twice", [step(null), step("siwe_nonce_used")]],
      ["a right answer after a wrong one", [step("siwe_wrong_signer", { signature: await sign(good, stranger) }), step("siwe_nonce_used")]],
      ["replayed by another session", [step(null), step("siwe_nonce_of_another_session", { session: "other" })]],
      ["answered first by another session", [step("siwe_nonce_of_another_session", { session: "other" }), step(null)]],
      ["another session's whole login", [step("siwe_nonce_of_another_session", { message: others, signature: await sign(others, stranger) })]],
      ["a stranger's address with the right nonce", [step("siwe_address_mismatch", { message: text({ address: stranger.address }), signature: await sign(text({ address: stranger.address }), stranger) })]],
      ["answered after it expired", [step("siwe_expired", { at_ms: NOW + LIFETIME })]],
      ["answered a day later", [step("siwe_expired", { at_ms: NOW + 86_400_000 })]],
      ["answered by a clock that was set back", [step("siwe_issued_in_future", { at_ms: NOW - 1 })]],
    ];
    for (const [name, steps] of sequences) cases.push({ name, siwe_parses: true, steps });
    return cases;
  }
  return { text, goodLogins, changedTexts, changedSignatures, tampered };
}

// The whole fixture.
export async function logins() {
  const now = Date.parse("2026-01-01T12:00:00.000Z");
  const [nonce, otherNonce] = ["k7Qm2Vx9ZtRb4LwYp8Hc6NsD", "B3fGh5Jk8Mn1Pq4Rs7Tu0Vw2"];
  const { goodLogins, tampered } = kit({ now, nonce, otherNonce });
  return {
    settings,
    now_ms: now,
    own: { nonce, address: signer.address },
    other: { nonce: otherNonce, address: stranger.address },
    good: await goodLogins(),
    tampered: await tampered(),
  };
}
