// The agents: one button for each; the chosen one has aria-current.

import { displayName, sortedAgents } from "./chat-state.js";
import { byId, element, setText } from "./dom.js";

const KNOWN_STATUS = new Set(["idle", "busy", "error"]);

/** What the page says about an agent's status, and the colour it gives it. */
export function statusOf(agent) {
  if (!agent.online) return { text: "away", tone: "away" };
  const text = agent.status || "idle";
  return { text, tone: KNOWN_STATUS.has(text) ? text : "other" };
}

export class AgentsView {
  #list = byId("agents-list");
  #count = byId("agents-count");
  #none = byId("agents-none");
  #rows = new Map(); // agent id -> its parts
  #shown = null;
  #onChoose;

  constructor({ onChoose }) {
    this.#onChoose = onChoose;
  }

  show(state) {
    const { agents, chosen, unread } = state;
    if (this.#shown?.agents === agents && this.#shown.chosen === chosen && this.#shown.unread === unread) return;
    this.#shown = state;

    const sorted = sortedAgents(state);
    for (const [id, row] of this.#rows) {
      if (!agents[id]) {
        row.item.remove();
        this.#rows.delete(id);
      }
    }
    sorted.forEach((agent, position) => {
      const row = this.#row(agent.agent_id);
      this.#fill(row, agent, chosen === agent.agent_id, unread[agent.agent_id] ?? 0);
      if (this.#list.children[position] !== row.item) this.#list.insertBefore(row.item, this.#list.children[position] ?? null);
    });
    setText(this.#count, String(sorted.filter((agent) => agent.online).length));
    this.#none.hidden = sorted.length > 0;
  }

  #row(id) {
    const known = this.#rows.get(id);
    if (known) return known;
    const parts = {
      name: element("span", { class: "agent-name" }),
      status: element("span", { class: "agent-status" }),
      unread: element("span", { class: "count", hidden: true }),
      about: element("span", { class: "agent-about" }),
    };
    const line = element("span", { class: "agent-line" }, parts.name, parts.unread, parts.status);
    const button = element("button", { type: "button", on: { click: () => this.#onChoose(id) } }, line, parts.about);
    const row = { ...parts, button, item: element("li", { dataset: { agent: id } }, button) };
    this.#rows.set(id, row);
    return row;
  }

  #fill(row, agent, isChosen, unread) {
    const { text, tone } = statusOf(agent);
    setText(row.name, displayName(agent));
    setText(row.status, text);
    row.item.dataset.status = tone;
    setText(row.about, (agent.capabilities ?? []).join(" · ") || agent.type || agent.agent_id);
    row.unread.hidden = unread === 0;
    setText(row.unread, unread === 0 ? "" : `${unread} new`);
    if (isChosen) row.button.setAttribute("aria-current", "true");
    else row.button.removeAttribute("aria-current");
  }
}
