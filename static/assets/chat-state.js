// The state of the page: agents, conversations, notices. A pure reducer; no socket, clock or DOM.
//
// An exchange is a question and its answer: waiting ─▶ streaming ─▶ done | failed, or stopped by
// the user. A failed exchange continues if its answer comes after all, because a late answer is
// still delivered.

export const ExchangeStatus = Object.freeze({
  WAITING: "waiting",
  STREAMING: "streaming",
  DONE: "done",
  FAILED: "failed",
  STOPPED: "stopped",
});

/** Entries kept in all; the oldest go first. */
export const MAX_ENTRIES = 500;
/** Characters kept of one answer. */
export const MAX_ANSWER = 262_144;

export function initialState() {
  return { sessionId: null, acks: 0, agents: {}, chosen: null, entries: [], unread: {}, noticeNumber: 0 };
}

/**
 * Events: `{kind:"frame", frame}`, `{kind:"asked", id, agentId, text}`, `{kind:"stopped", id}`,
 * `{kind:"chosen", agentId}`, `{kind:"notice", level, text}`, `{kind:"disconnected"}`.
 */
export function reduce(state, event) {
  switch (event.kind) {
    case "frame":
      return onFrame(state, event.frame);
    case "asked":
      return append(state, {
        kind: "exchange",
        id: event.id,
        agentId: event.agentId,
        question: event.text,
        answer: "",
        nextIndex: 0,
        gap: false,
        status: ExchangeStatus.WAITING,
        error: null,
      });
    case "stopped":
      return withEntry(state, event.id, (entry) => (isOpen(entry) ? { ...entry, status: ExchangeStatus.STOPPED } : entry));
    case "chosen":
      return { ...state, chosen: event.agentId, unread: { ...state.unread, [event.agentId]: 0 } };
    case "notice":
      return notice(state, event.level, event.text);
    case "disconnected":
      return failOpen(state);
    default:
      return state;
  }
}

export function isOpen(entry) {
  return entry.kind === "exchange" && (entry.status === ExchangeStatus.WAITING || entry.status === ExchangeStatus.STREAMING);
}

/** Agents in the order the page shows them: present ones first, then by name. */
export function sortedAgents(state) {
  return Object.values(state.agents).sort(
    (one, other) => Number(other.online) - Number(one.online) || displayName(one).localeCompare(displayName(other)),
  );
}

export function displayName(agent) {
  return agent.name || agent.agent_id;
}

/** The entries of the chosen agent's conversation, and the notices. */
export function visibleEntries(state) {
  return state.entries.filter((entry) => entry.kind === "notice" || entry.agentId === state.chosen);
}

function onFrame(state, frame) {
  const fromBridge = frame.source === "bridge" || frame.source === "edge";
  const handler = fromBridge ? fromTheBridge[frame.type] : fromAPeer;
  return handler ? handler(state, frame.payload ?? {}, frame) : state;
}

const fromTheBridge = {
  // The broker no longer waits for answers to questions of an earlier connection.
  "connection:ack": (state, payload) => ({ ...failOpen(state), acks: state.acks + 1, sessionId: payload.session_id ?? null }),
  "agent:listed": (state, { agents }) => (Array.isArray(agents) ? replaceAgents(state, agents) : state),
  "agent:connected": (state, { agent }) => putAgent(state, agent),
  "agent:updated": (state, { agent }) => putAgent(state, agent),
  "agent:status": (state, { agent_id, status, agent }) =>
    putAgent(state, { ...(agent ?? state.agents[agent_id] ?? { agent_id }), status }),
  "agent:disconnected": (state, { agent_id }) => removeAgent(state, agent_id),
  "system:error": onError,
  "system:lost": (state, { count, reason }) =>
    notice(state, "warning", `${count ?? "Some"} messages did not reach this page${reason ? `: ${spaced(reason)}` : ""}.`),
  "system:draining": (state, { close_within_ms }) =>
    notice(state, "info", `The server restarts${within(close_within_ms)}. This page comes back by itself.`),
};

function onError(state, payload, frame) {
  const error = { code: payload.code ?? "error", message: payload.message ?? "", temporary: payload.temporary === true };
  if (findExchange(state, frame.correlation_id)) {
    return withEntry(state, frame.correlation_id, (entry) => (isOpen(entry) ? failed(entry, error) : entry));
  }
  return notice(state, "error", error.message ? `${error.message} (${error.code})` : error.code);
}

function fromAPeer(state, payload, frame) {
  const exchange = findExchange(state, frame.correlation_id);
  if (exchange && frame.source === `agent:${exchange.agentId}`) {
    // A durable answer may come again after the connection was lost.
    if (frame.redelivered && exchange.status === ExchangeStatus.DONE) return state;
    return countUnread(withEntry(state, exchange.id, (entry) => answered(entry, frame.type, payload)), exchange.agentId, frame);
  }
  if (typeof frame.source !== "string" || !frame.source.startsWith("agent:")) return state;
  const agentId = frame.source.slice("agent:".length);
  const entry = { kind: "incoming", id: `in:${frame.source}:${frame.id}`, agentId, type: frame.type, text: textOf(payload) };
  if (frame.redelivered && state.entries.some((known) => known.id === entry.id)) return state;
  return countUnread(append(state, entry), agentId, frame);
}

function answered(entry, type, payload) {
  if (entry.status === ExchangeStatus.STOPPED) return entry;
  switch (type) {
    case "message:delta":
      if (entry.status === ExchangeStatus.DONE) return entry;
      return extended(entry, payload);
    case "message:error":
      return failed(entry, { code: payload.code ?? "error", message: payload.message ?? "", temporary: payload.temporary === true });
    default: {
      // message:done states the whole text; any other correlated message is the answer itself.
      const text = type === "message:done" && typeof payload.text !== "string" ? entry.answer : textOf(payload);
      return { ...entry, answer: text.slice(0, MAX_ANSWER), gap: false, status: ExchangeStatus.DONE, error: null };
    }
  }
}

function extended(entry, payload) {
  const index = Number.isInteger(payload.index) ? payload.index : entry.nextIndex;
  const text = typeof payload.text === "string" ? payload.text : "";
  return {
    ...entry,
    answer: (entry.answer + text).slice(0, MAX_ANSWER),
    nextIndex: index + 1,
    gap: entry.gap || index > entry.nextIndex,
    status: ExchangeStatus.STREAMING,
    error: null,
  };
}

function failed(entry, error) {
  return { ...entry, status: ExchangeStatus.FAILED, error };
}

const CONNECTION_LOST = Object.freeze({
  code: "connection_lost",
  message: "the connection was lost before the answer was complete",
  temporary: true,
});

function failOpen(state) {
  if (!state.entries.some(isOpen)) return state;
  return { ...state, entries: state.entries.map((entry) => (isOpen(entry) ? failed(entry, CONNECTION_LOST) : entry)) };
}

function replaceAgents(state, agents) {
  const known = {};
  for (const agent of Object.values(state.agents)) {
    if (isRemembered(state, agent.agent_id)) known[agent.agent_id] = { ...agent, online: false };
  }
  for (const agent of agents) {
    if (typeof agent?.agent_id === "string") known[agent.agent_id] = { ...agent, online: true };
  }
  return chooseOne({ ...state, agents: known });
}

function putAgent(state, agent) {
  if (typeof agent?.agent_id !== "string") return state;
  return chooseOne({ ...state, agents: { ...state.agents, [agent.agent_id]: { ...agent, online: true } } });
}

function removeAgent(state, agentId) {
  const { [agentId]: gone, ...others } = state.agents;
  if (!gone) return state;
  if (!isRemembered(state, agentId)) return { ...state, agents: others };
  return { ...state, agents: { ...others, [agentId]: { ...gone, online: false } } };
}

/** An agent that the person has talked to stays visible when it leaves. */
function isRemembered(state, agentId) {
  return state.chosen === agentId || state.entries.some((entry) => entry.agentId === agentId);
}

function chooseOne(state) {
  if (state.chosen !== null) return state;
  const first = sortedAgents(state)[0];
  return first ? { ...state, chosen: first.agent_id } : state;
}

function countUnread(state, agentId, frame) {
  if (agentId === state.chosen || frame.type === "message:delta") return state;
  return { ...state, unread: { ...state.unread, [agentId]: (state.unread[agentId] ?? 0) + 1 } };
}

function notice(state, level, text) {
  const number = state.noticeNumber + 1;
  return append({ ...state, noticeNumber: number }, { kind: "notice", id: `notice:${number}`, level, text });
}

function append(state, entry) {
  return { ...state, entries: [...state.entries, entry].slice(-MAX_ENTRIES) };
}

function findExchange(state, id) {
  if (typeof id !== "string") return undefined;
  return state.entries.find((entry) => entry.kind === "exchange" && entry.id === id);
}

function withEntry(state, id, change) {
  return { ...state, entries: state.entries.map((entry) => (entry.id === id ? change(entry) : entry)) };
}

function textOf(payload) {
  if (typeof payload === "string") return payload;
  return typeof payload?.text === "string" ? payload.text : JSON.stringify(payload);
}

function spaced(word) {
  return String(word).replaceAll("_", " ");
}

function within(ms) {
  return Number.isFinite(ms) ? ` within ${Math.max(1, Math.round(ms / 1_000))} s` : "";
}
