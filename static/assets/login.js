// Signing in with a wallet, and out. The wallet is `window.ethereum` (EIP-1193). It signs a text of
// the edge, and the edge gives this browser's session its user. Secrets stay in the wallet and the
// cookie.

const ANSWER_WITHIN_MS = 15_000;
/** The wallet's refusal: the person closed its window (EIP-1193). */
const USER_REJECTED = 4001;

/**
 * Signing in or out did not work. `cancelled`: by the person; otherwise the message says what to
 * do.
 */
export class LoginError extends Error {
  constructor(message, { code = null, cancelled = false } = {}) {
    super(message);
    this.name = "LoginError";
    this.code = code;
    this.cancelled = cancelled;
  }
}

/**
 * Signs in; returns the session. `socketId`: of the socket that is to stay open, from its
 * `connection:ack`.
 */
export async function signIn({ wallet, socketId, fetchFn = globalThis.fetch }) {
  const [address] = await ask(wallet, "eth_requestAccounts");
  if (typeof address !== "string") throw new LoginError("The wallet has no account to sign in with.");
  const chain = Number(await ask(wallet, "eth_chainId"));
  const { message } = await post(fetchFn, "/auth/challenge", { address, chain_id: chain });
  const signature = await ask(wallet, "personal_sign", [hexOf(message), address]);
  return post(fetchFn, "/auth/verify", { message, signature, sockets: socketId ? [socketId] : [] });
}

/** Ends the session; the next one is anonymous. */
export async function signOut(fetchFn = globalThis.fetch) {
  await post(fetchFn, "/auth/logout", {});
}

/**
 * Gets later credentials for the same session, before the present ones expire. Open sockets last as
 * long as those.
 */
export async function refresh(fetchFn = globalThis.fetch) {
  return post(fetchFn, "/auth/refresh", {});
}

/** An address in short: its two ends. */
export function shortened(address) {
  return address.length > 12 ? `${address.slice(0, 6)}…${address.slice(-4)}` : address;
}

async function ask(wallet, method, params = []) {
  try {
    return await wallet.request({ method, params });
  } catch (error) {
    const cancelled = error?.code === USER_REJECTED;
    throw new LoginError(cancelled ? "Signing in was cancelled." : `The wallet refused: ${error?.message ?? "it says no reason"}`, { cancelled });
  }
}

async function post(fetchFn, path, body) {
  let response;
  try {
    response = await fetchFn(path, {
      method: "POST",
      credentials: "same-origin",
      headers: { accept: "application/json", "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
    });
  } catch {
    throw new LoginError("The server cannot be reached.");
  }
  const answer = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) {
    const error = answer?.error;
    throw new LoginError(error?.message ?? `The server answered ${response.status}.`, { code: error?.code ?? null });
  }
  return answer;
}

function hexOf(text) {
  const bytes = new TextEncoder().encode(text);
  return `0x${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
