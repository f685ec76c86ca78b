// Connects the parts of the page: frames and clicks become events, events become state, and state
// is shown once per animation frame.

import { initialState, reduce } from "./chat-state.js";
import { BridgeConnection, SendError, State } from "./connection.js";
import { byId } from "./dom.js";
import { LoginError, refresh, signIn, signOut } from "./login.js";
import { register } from "./session.js";
import { AccountView } from "./view-account.js";
import { AgentsView } from "./view-agents.js";
import { ChatView } from "./view-chat.js";
import { LinkView } from "./view-link.js";

/** How long an agent may take to begin its answer. */
const ANSWER_WITHIN_MS = 60_000;

const connection = new BridgeConnection({
  url: `${location.origin.replace(/^http/, "ws")}/ws`,
  register: registerHere,
  onFrame,
  onState: onLinkState,
});

const linkView = new LinkView({ onRetry: () => (connection.state === State.CLOSED ? connection.start() : connection.hurry()) });
const accountView = new AccountView({ hasWallet: () => Boolean(window.ethereum), onSignIn, onSignOut });
const agentsView = new AgentsView({ onChoose: choose });
const chatView = new ChatView({ onStop: stop, onAskAgain: (entry) => ask(entry.agentId, entry.question) });
const form = byId("composer");
const question = byId("question");
const send = byId("send");

/** The session as the edge last described it, and the id of the open socket. */
let session = null;
let socketId = null;
let signing = false;
let state = initialState();
let drawing = false;

function dispatch(event) {
  state = reduce(state, event);
  if (drawing) return;
  drawing = true;
  // A hidden page draws nothing. The timer updates it, so that it is not out of date when it is
  // seen again.
  const later = document.hidden ? (run) => setTimeout(run, 250) : requestAnimationFrame;
  later(() => {
    drawing = false;
    draw();
  });
}

function draw() {
  agentsView.show(state);
  chatView.show(state);
  send.disabled = connection.state !== State.CONNECTED || state.chosen === null;
}

function onFrame(frame) {
  dispatch({ kind: "frame", frame });
  if (frame.type === "connection:ack") {
    socketId = frame.payload?.socket_id ?? null;
    connection.send({ type: "agent:list" });
  } else if (frame.type === "session:identified" && frame.source === "bridge") {
    setSession({ ...session, ...frame.payload });
    connection.send({ type: "agent:list" }); // a user may see agents that a stranger may not
  } else if (frame.type === "connection:expiring" && frame.source === "edge") {
    // Without them the socket is closed after a while, and opened again with new ones.
    refresh().catch(() => {});
  }
}

async function registerHere() {
  setSession(await register());
}

function setSession(described) {
  session = described;
  accountView.show(session, signing);
}

async function onSignIn() {
  await whileSigning(async () => setSession(await signIn({ wallet: window.ethereum, socketId })));
}

async function onSignOut() {
  // The edge closes the socket; the connection then registers again by itself.
  await whileSigning(signOut);
}

async function whileSigning(work) {
  if (signing) return;
  signing = true;
  accountView.show(session, signing);
  try {
    await work();
  } catch (error) {
    if (!(error instanceof LoginError)) throw error;
    if (!error.cancelled) dispatch({ kind: "notice", level: "error", text: error.message });
  } finally {
    signing = false;
    accountView.show(session, signing);
  }
}

function onLinkState(linkState, detail) {
  linkView.show(linkState, detail);
  const lost = linkState === State.RECONNECTING || linkState === State.INTERRUPTED || linkState === State.CLOSED;
  if (linkState === State.CLOSED) dispatch({ kind: "notice", level: "error", text: detail.reason });
  dispatch(lost ? { kind: "disconnected" } : { kind: "connected" });
}

function choose(agentId) {
  dispatch({ kind: "chosen", agentId });
  question.focus();
}

function ask(agentId, text) {
  const message = { type: "message:send", target: `agent:${agentId}`, timeout_ms: ANSWER_WITHIN_MS, payload: { text } };
  const id = trySending(message);
  if (id === null) return false;
  dispatch({ kind: "asked", id, agentId, text });
  requestAnimationFrame(() => chatView.scrollToEnd());
  return true;
}

function stop(entry) {
  trySending({ type: "message:cancel", delivery: "ephemeral", target: `agent:${entry.agentId}`, correlation_id: entry.id, payload: null });
  dispatch({ kind: "stopped", id: entry.id });
}

/** Sends, or shows in the conversation why not; returns the id or null. */
function trySending(message) {
  try {
    return connection.send(message);
  } catch (error) {
    if (!(error instanceof SendError)) throw error;
    dispatch({ kind: "notice", level: "error", text: `Not sent: ${error.message}.` });
    return null;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = question.value.trim();
  if (text === "" || state.chosen === null || send.disabled) return;
  if (ask(state.chosen, text)) question.value = "";
  question.focus();
});

question.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});

addEventListener("online", () => connection.hurry());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) connection.hurry();
});
// Some wallets announce themselves only after the page has loaded.
addEventListener("ethereum#initialized", () => accountView.show(session, signing), { once: true });
// Some browsers close the socket of a page kept for the back button without a close event.
addEventListener("pageshow", (event) => {
  if (event.persisted) connection.hurry();
});

connection.start();
draw();
