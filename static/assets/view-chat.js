// The conversation with the chosen agent. Entries are redrawn only when they changed, and a growing
// answer only grows.

import { displayName, ExchangeStatus, isOpen, visibleEntries } from "./chat-state.js";
import { byId, element, setText } from "./dom.js";
import { statusOf } from "./view-agents.js";

const NEAR_THE_END_PX = 80;

const STATUS_TEXT = Object.freeze({
  [ExchangeStatus.WAITING]: "Waiting for the answer",
  [ExchangeStatus.STREAMING]: "Answering",
  [ExchangeStatus.DONE]: "",
  [ExchangeStatus.FAILED]: "",
  [ExchangeStatus.STOPPED]: "Stopped",
});

export class ChatView {
  #title = byId("chat-title");
  #about = byId("chat-about");
  #capabilities = byId("chat-capabilities");
  #log = byId("log");
  #empty = byId("log-empty");
  #nodes = new Map(); // entry id -> { entry, node, parts }
  #agent = null;
  #handlers;

  /** `onStop(entry)`, `onAskAgain(entry)`. */
  constructor(handlers) {
    this.#handlers = handlers;
  }

  show(state) {
    this.#showAgent(state.agents[state.chosen] ?? null);
    const following = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < NEAR_THE_END_PX;
    const entries = visibleEntries(state);
    const wanted = new Set(entries.map((entry) => entry.id));
    for (const [id, shown] of this.#nodes) {
      if (wanted.has(id)) continue;
      shown.node.remove();
      this.#nodes.delete(id);
    }
    entries.forEach((entry, position) => this.#place(this.#draw(entry), position));
    this.#empty.hidden = entries.length > 0;
    if (following) this.#log.scrollTop = this.#log.scrollHeight;
  }

  /** Scrolls to the newest entry, wherever the reader was. */
  scrollToEnd() {
    this.#log.scrollTop = this.#log.scrollHeight;
  }

  #showAgent(agent) {
    if (agent === this.#agent) return;
    this.#agent = agent;
    setText(this.#title, agent ? displayName(agent) : "No agent chosen");
    const facts = agent ? [agent.type, agent.model, agent.version && `v${agent.version}`, statusOf(agent).text] : [];
    setText(this.#about, facts.filter(Boolean).join(" · "));
    this.#capabilities.replaceChildren(...(agent?.capabilities ?? []).map((name) => element("li", { text: name })));
    setText(this.#empty, agent ? `Ask ${displayName(agent)} something.` : "Choose an agent and ask it something.");
  }

  #place(node, position) {
    const there = this.#log.children[position + 1] ?? null; // the hint is the first child
    if (there !== node) this.#log.insertBefore(node, there);
  }

  #draw(entry) {
    const shown = this.#nodes.get(entry.id);
    if (shown?.entry === entry) return shown.node;
    const made = shown ?? make[entry.kind](entry, this.#handlers, () => this.#nodes.get(entry.id).entry);
    this.#nodes.set(entry.id, { ...made, entry });
    if (entry.kind === "exchange") fillExchange(made.parts, entry);
    return made.node;
  }
}

const make = {
  exchange(entry, handlers, current) {
    const answer = document.createTextNode("");
    const parts = {
      answer,
      bubble: element("p", { class: "bubble theirs", dataset: { role: "answer" } }, answer),
      status: element("span", { class: "hint" }),
      error: element("p", { class: "failure", hidden: true }),
      stop: element("button", { type: "button", class: "quiet", text: "Stop", on: { click: () => handlers.onStop(current()) } }),
      again: element("button", {
        type: "button",
        class: "quiet",
        text: "Ask again",
        hidden: true,
        on: { click: () => handlers.onAskAgain(current()) },
      }),
    };
    const foot = element("div", { class: "foot" }, parts.status, parts.stop, parts.again);
    const question = element("p", { class: "bubble mine", text: entry.question });
    const node = element("article", { class: "exchange", "aria-label": "Question and answer" }, question, parts.bubble, parts.error, foot);
    return { node, parts: { ...parts, node } };
  },
  incoming(entry) {
    const label = entry.type === "message:send" ? [] : [element("p", { class: "hint", text: entry.type })];
    return { node: element("article", { class: "exchange" }, ...label, element("p", { class: "bubble theirs", text: entry.text })) };
  },
  notice(entry) {
    return { node: element("p", { class: "notice", dataset: { level: entry.level }, text: entry.text }) };
  },
};

function fillExchange(parts, entry) {
  const open = isOpen(entry);
  parts.node.dataset.status = entry.status;
  // A screen reader hears the whole answer once, not every token.
  parts.node.setAttribute("aria-busy", String(open));
  grow(parts.answer, entry.answer);
  parts.bubble.hidden = entry.answer === "" && entry.status !== ExchangeStatus.WAITING;
  setText(parts.status, STATUS_TEXT[entry.status] + (entry.gap ? " (a part is missing)" : ""));
  parts.stop.hidden = !open;
  parts.error.hidden = entry.error === null;
  setText(parts.error, entry.error === null ? "" : describe(entry.error));
  parts.again.hidden = !(entry.status === ExchangeStatus.FAILED && entry.error.temporary);
}

function grow(node, text) {
  if (text.startsWith(node.data)) {
    if (text.length > node.data.length) node.appendData(text.slice(node.data.length));
  } else {
    node.data = text;
  }
}

function describe({ code, message }) {
  return message ? `${message} (${code})` : code;
}
