// The browser's session at the edge. The secret is an HttpOnly cookie; this module never sees or
// keeps it.

/** The edge refused or could not be reached. `status` is 0 when no answer came. */
export class RegistrationError extends Error {
  constructor(status, message, retryAfterMs = 0) {
    super(message);
    this.name = "RegistrationError";
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }

  /** The credentials were refused, as opposed to the server being away or full. */
  get refused() {
    return this.status === 401 || this.status === 403;
  }
}

const ANSWER_WITHIN_MS = 15_000;

/** Confirms the session this browser has, or makes one: `{client_id, new_session, ...}`. */
export async function register(fetchFn = globalThis.fetch) {
  let response;
  try {
    response = await fetchFn("/api/client", {
      method: "POST",
      credentials: "same-origin",
      headers: { accept: "application/json" },
      signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
    });
  } catch {
    throw new RegistrationError(0, "the server cannot be reached");
  }
  const body = await response.json().catch(() => null);
  if (!response.ok) {
    const message = body?.error?.message ?? `the server answered ${response.status}`;
    throw new RegistrationError(response.status, message, retryAfterMs(response));
  }
  if (typeof body?.client_id !== "string") {
    throw new RegistrationError(response.status, "the server's answer names no session");
  }
  return body;
}

function retryAfterMs(response) {
  const seconds = Number(response.headers.get("retry-after"));
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, 600) * 1_000 : 0;
}
