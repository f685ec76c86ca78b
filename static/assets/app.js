// Puts the page together: frames and clicks become events, events become state, state is shown once per frame drawn.

import { initialState, reduce } from "./chat-state.js";
import { BridgeConnection, SendError, State } from "./connection.js";
import { byId } from "./dom.js";
import { register } from "./session.js";
import { AgentsView } from "./view-agents.js";
import { ChatView } from "./view-chat.js";
import { LinkView } from "./view-link.js";

/** How long an agent may take to begin its answer. */
const ANSWER_WITHIN_MS = 60_000;

const connection = new BridgeConnection({
  url: `${location.origin.replace(/^http/, "ws")}/ws`,
  register,
  onFrame,
  onState: onLinkState,
});

const linkView = new LinkView({ onRetry: () => (connection.state === State.CLOSED ? connection.start() : connection.hurry()) });
const agentsView = new AgentsView({ onChoose: choose });
const chatView = new ChatView({ onStop: stop, onAskAgain: (entry) => ask(entry.agentId, entry.question) });
const form = byId("composer");
const question = byId("question");
const send = byId("send");

let state = initialState();
let drawing = false;

function dispatch(event) {
  state = reduce(state, event);
  if (drawing) return;
  drawing = true;
  // A hidden page draws nothing; a timer keeps its state from being shown late when it is seen again.
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
  if (frame.type === "connection:ack") connection.send({ type: "agent:list" });
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

/** Sends, or says in the conversation why not; returns the id or null. */
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
// A page kept for the back button has its socket closed by the browser without a close event in some of them.
addEventListener("pageshow", (event) => {
  if (event.persisted) connection.hurry();
});

connection.start();
draw();
