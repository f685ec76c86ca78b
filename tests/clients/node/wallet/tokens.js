// The tokens of identity/tests/fixtures/tokens_jose.json: one good token for every algorithm, made
// by jose, and forged ones.
import { createHmac, createPrivateKey, createPublicKey, sign as signBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { SignJWT, exportJWK, generateKeyPair } from "jose";

// Test keys: public, without value.
const ISSUER = "https://issuer.example";
const AUDIENCE = "bridge";
const KEYS = {
  rsa: ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  p256: ["ES256"],
  p384: ["ES384"],
  ed25519: ["EdDSA", "Ed25519"],
};

const pem = (name, kind) =>
  readFileSync(new URL(`../../../../identity/tests/fixtures/keys/${name}.${kind}.pem`, import.meta.url), "utf8");
const privateKey = (name) => createPrivateKey(pem(name, "private"));
const base64 = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

// Parts put together by hand, for what jose refuses to make.
const byHand = (header, body, signature) => {
  const message = `${base64(header)}.${base64(body)}`;
  return `${message}.${signature(message)}`;
};
const hmac = (key) => (message) => createHmac("sha256", key).update(message).digest("base64url");
const rsa = (message) => signBytes("sha256", message, privateKey("rsa")).toString("base64url");

// The tokens of a moment: the good ones, and the forged ones with the code each is refused with.
// `trust` is whom a token is for: the issuer with the secret, or the one with published keys.
function maker(NOW, SECRET) {
  const secretBytes = new TextEncoder().encode(SECRET);
  const claims = (changes = {}) => ({
    iss: ISSUER, aud: AUDIENCE, sub: "ann", iat: NOW, nbf: NOW, exp: NOW + 3600, scope: "read write", jti: "t-1", ...changes,
  });
  const make = (alg, key, kid, changes) => new SignJWT(claims(changes)).setProtectedHeader({ alg, typ: "JWT", ...(kid && { kid }) }).sign(key);

  const good = async () => {
    const tokens = [];
    for (const alg of ["HS256", "HS384", "HS512"]) tokens.push({ name: alg, trust: "secret", token: await make(alg, secretBytes) });
    for (const [name, algorithms] of Object.entries(KEYS)) {
      for (const alg of algorithms) tokens.push({ name: alg, trust: "keys", token: await make(alg, privateKey(name), name) });
    }
    tokens.push({ name: "fractional times", trust: "secret", token: await make("HS256", secretBytes, null, { exp: NOW + 3600.25, iat: NOW - 0.5, nbf: NOW - 0.5 }) });
    tokens.push({ name: "several audiences", trust: "keys", token: await make("ES256", privateKey("p256"), "p256", { aud: ["other", AUDIENCE] }) });
    tokens.push({ name: "no key id, one key that fits", trust: "keys", token: await make("EdDSA", privateKey("ed25519"), null) });
    tokens.push({ name: "access token type", trust: "keys", token: await new SignJWT(claims()).setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid: "p256" }).sign(privateKey("p256")) });
    return tokens;
  };

  async function forged() {
    const published = pem("rsa", "public");
    const jwk = createPublicKey(published).export({ format: "jwk" });
    const stranger = await generateKeyPair("RS256", { extractable: true });
    const strangersJwk = await exportJWK(stranger.publicKey);
    const es256 = await make("ES256", privateKey("p256"), "p256");
    const [header, body, signature] = es256.split(".");
    const with_ = (changes) => make("ES256", privateKey("p256"), "p256", changes);
    const hs = (changes) => make("HS256", secretBytes, null, changes);
    const rows = [
      ["alg none, no signature", "keys", "token_unsigned", byHand({ alg: "none" }, claims(), () => "")],
      ["alg none, with a signature", "keys", "token_unsigned", byHand({ alg: "none", kid: "rsa" }, claims(), rsa)],
      ["alg None", "secret", "token_unsigned", byHand({ alg: "None" }, claims(), () => "")],
      ["alg nOnE with an HMAC", "secret", "token_unsigned", byHand({ alg: "nOnE" }, claims(), hmac(SECRET))],
      ["signature left out", "keys", "token_unsigned", `${header}.${body}.`],
      ["HMAC with the public key in PEM", "keys", "token_algorithm_refused", byHand({ alg: "HS256", kid: "rsa" }, claims(), hmac(published))],
      ["HMAC with the public key in PEM, trimmed", "keys", "token_algorithm_refused", byHand({ alg: "HS256", kid: "rsa" }, claims(), hmac(published.trim()))],
      ["HMAC with the public key in DER", "keys", "token_algorithm_refused", byHand({ alg: "HS256", kid: "rsa" }, claims(), hmac(createPublicKey(published).export({ format: "der", type: "spki" })))],
      ["HMAC with the modulus", "keys", "token_algorithm_refused", byHand({ alg: "HS256", kid: "rsa" }, claims(), hmac(Buffer.from(jwk.n, "base64url")))],
      ["HMAC that says RS256", "keys", "token_signature_wrong", byHand({ alg: "RS256", kid: "rsa" }, claims(), hmac(published))],
      ["RSA where a secret is due", "secret", "token_algorithm_refused", await make("RS256", privateKey("rsa"), "rsa")],
      ["another algorithm of the same family", "keys", "token_signature_wrong", byHand({ alg: "RS512", kid: "rsa" }, claims(), rsa)],
      ["PSS that is PKCS1", "keys", "token_signature_wrong", byHand({ alg: "PS256", kid: "rsa" }, claims(), rsa)],
      ["a key of another algorithm", "keys", "token_key_unknown", byHand({ alg: "ES256", kid: "rsa" }, claims(), rsa)],
      ["unknown algorithm", "keys", "token_algorithm_refused", byHand({ alg: "ES256K", kid: "p256" }, claims(), rsa)],
      ["algorithm in lower case", "keys", "token_algorithm_refused", byHand({ alg: "rs256", kid: "rsa" }, claims(), rsa)],
      ["no algorithm", "keys", "token_malformed", byHand({ kid: "rsa" }, claims(), rsa)],
      ["algorithm twice", "keys", "token_duplicate_names", byHand('{"alg":"RS256","alg":"none","kid":"rsa"}', claims(), rsa)],
      ["algorithm twice, once escaped", "keys", "token_duplicate_names", byHand('{"alg":"RS256","a\\u006cg":"none","kid":"rsa"}', claims(), rsa)],
      ["subject twice", "keys", "token_duplicate_names", byHand({ alg: "RS256", kid: "rsa" }, `${JSON.stringify(claims()).slice(0, -1)},"sub":"bob"}`, rsa)],
      ["a key of the stranger's in the header", "keys", "token_key_unknown", await new SignJWT(claims()).setProtectedHeader({ alg: "RS256", jwk: strangersJwk, kid: "stranger" }).sign(stranger.privateKey)],
      ["a key of the stranger's under our id", "keys", "token_signature_wrong", await new SignJWT(claims()).setProtectedHeader({ alg: "RS256", jwk: strangersJwk, kid: "rsa" }).sign(stranger.privateKey)],
      ["a key set of the stranger's", "keys", "token_key_unknown", await new SignJWT(claims()).setProtectedHeader({ alg: "RS256", jku: "https://evil.example/keys", kid: "stranger" }).sign(stranger.privateKey)],
      ["a key id that is a path", "keys", "token_key_unknown", await make("RS256", stranger.privateKey, "../../../../dev/null")],
      ["a key id that is no text", "keys", "token_malformed", byHand({ alg: "RS256", kid: { $ne: null } }, claims(), rsa)],
      ["no key id where several fit", "keys", "token_key_unknown", await make("RS256", privateKey("rsa"))],
      ["critical header", "keys", "token_critical_header", byHand({ alg: "RS256", kid: "rsa", crit: ["exp"], exp: NOW }, claims(), rsa)],
      ["payload not encoded", "keys", "token_critical_header", byHand({ alg: "RS256", kid: "rsa", b64: false }, claims(), rsa)],
      ["type of a logout token", "keys", "token_type_refused", byHand({ alg: "RS256", kid: "rsa", typ: "logout+jwt" }, claims(), rsa)],
      ["type of a proof of possession", "keys", "token_type_refused", byHand({ alg: "RS256", kid: "rsa", typ: "dpop+jwt" }, claims(), rsa)],
      ["another secret", "secret", "token_signature_wrong", byHand({ alg: "HS256" }, claims(), hmac("another secret of at least 32 bytes"))],
      ["an empty secret", "secret", "token_signature_wrong", byHand({ alg: "HS256" }, claims(), hmac(""))],
      ["HS384 that says HS256", "secret", "token_signature_wrong", byHand({ alg: "HS256" }, claims(), (message) => createHmac("sha384", SECRET).update(message).digest("base64url"))],
      ["signature cut short", "secret", "token_signature_wrong", byHand({ alg: "HS256" }, claims(), (message) => hmac(SECRET)(message).slice(0, 20))],
      ["signature of zeros", "keys", "token_signature_wrong", byHand({ alg: "ES256", kid: "p256" }, claims(), () => Buffer.alloc(64).toString("base64url"))],
      ["signature in DER", "keys", "token_signature_wrong", byHand({ alg: "ES256", kid: "p256" }, claims(), (message) => signBytes("sha256", message, privateKey("p256")).toString("base64url"))],
      ["claims changed after signing", "keys", "token_signature_wrong", `${header}.${base64(claims({ sub: "bob" }))}.${signature}`],
      ["header changed after signing", "keys", "token_signature_wrong", `${base64({ alg: "ES256", kid: "p256" })}.${body}.${signature}`],
      ["two parts", "keys", "token_malformed", `${header}.${body}`],
      ["four parts", "keys", "token_malformed", `${es256}.${signature}`],
      ["five parts, as if encrypted", "keys", "token_malformed", "a.b.c.d.e"],
      ["padding", "keys", "token_malformed", `${es256}==`],
      ["plain base64", "keys", "token_malformed", `${header}.${body}.${signature.slice(0, -2)}+/`],
      ["space around", "keys", "token_malformed", ` ${es256}`],
      ["claims that are a list", "keys", "token_malformed", byHand({ alg: "RS256", kid: "rsa" }, "[]", rsa)],
      ["longer than any token", "keys", "token_too_long", byHand({ alg: "RS256", kid: "rsa" }, claims({ filler: "x".repeat(20_000) }), rsa)],
      ["another issuer", "keys", "token_issuer_unknown", await with_({ iss: "https://evil.example" })],
      ["issuer with a slash", "keys", "token_issuer_unknown", await with_({ iss: `${ISSUER}/` })],
      ["no issuer", "keys", "token_issuer_unknown", await with_({ iss: undefined })],
      ["issuers in a list", "keys", "token_issuer_unknown", byHand({ alg: "RS256", kid: "rsa" }, claims({ iss: [ISSUER] }), rsa)],
      ["another audience", "keys", "token_audience_wrong", await with_({ aud: "other" })],
      ["other audiences", "keys", "token_audience_wrong", await with_({ aud: ["other", "bridge2"] })],
      ["no audience", "keys", "token_claim_missing", await with_({ aud: undefined })],
      ["expired", "keys", "token_expired", await with_({ exp: NOW - 61 })],
      ["expired by a fraction beyond the leeway", "secret", "token_expired", await hs({ exp: NOW - 60.01 })],
      ["no expiry", "keys", "token_claim_missing", await with_({ exp: undefined })],
      ["expiry as text", "keys", "token_claim_invalid", byHand({ alg: "RS256", kid: "rsa" }, claims({ exp: `${NOW + 3600}` }), rsa)],
      ["expiry in milliseconds", "keys", "token_claim_invalid", byHand({ alg: "RS256", kid: "rsa" }, claims({ exp: (NOW + 3600) * 1000 }), rsa)],
      ["expiry before 1970", "keys", "token_claim_invalid", byHand({ alg: "RS256", kid: "rsa" }, claims({ exp: -1 }), rsa)],
      ["not valid yet", "keys", "token_not_yet_valid", await with_({ nbf: NOW + 61 })],
      ["not valid yet by a fraction", "secret", "token_not_yet_valid", await hs({ nbf: NOW + 60.5 })],
      ["issued in the future", "keys", "token_issued_in_future", await with_({ iat: NOW + 61 })],
      ["no subject", "keys", "token_claim_missing", await with_({ sub: undefined })],
      ["subject that is a number", "keys", "token_claim_invalid", byHand({ alg: "RS256", kid: "rsa" }, claims({ sub: 7 }), rsa)],
      ["subject of a wallet's user", "keys", "token_claim_invalid", await with_({ sub: "wallet:0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A" })],
    ];
    return rows.map(([name, trust, code, token]) => ({ name, trust, code, token }));
  }
  return { good, forged };
}

// The whole fixture, or one of another moment.
export async function tokens(now = 1_767_268_800, secret = "a test secret of at least 32 bytes, and then some more for HS512!") {
  const { good, forged } = maker(now, secret);
  const keys = Object.keys(KEYS).map((name) => ({ ...createPublicKey(pem(name, "public")).export({ format: "jwk" }), kid: name }));
  // A second RSA key, so that a token without a key id leaves a choice.
  const second = { ...(await exportJWK((await generateKeyPair("RS256")).publicKey)), kid: "rsa-2" };
  return {
    now, issuer: ISSUER, audience: AUDIENCE, secret,
    jwks: { keys: [...keys, second] },
    good: await good(),
    forged: await forged(),
  };
}
