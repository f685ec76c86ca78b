// The state of the connection, at the top of the page.

import { State } from "./connection.js";
import { byId, setText } from "./dom.js";

const LABELS = Object.freeze({
  [State.IDLE]: "Not connected",
  [State.CONNECTING]: "Connecting",
  [State.CONNECTED]: "Connected",
  [State.INTERRUPTED]: "Server is away",
  [State.RECONNECTING]: "Reconnecting",
  [State.CLOSED]: "Disconnected",
});

export class LinkView {
  #pill = byId("link-state");
  #retry = byId("link-retry");

  constructor({ onRetry }) {
    this.#retry.addEventListener("click", onRetry);
  }

  show(state, { reason = "" } = {}) {
    this.#pill.dataset.state = state;
    document.body.dataset.link = state; // what was known of the agents fades while nothing new is heard
    this.#pill.title = reason;
    setText(this.#pill, LABELS[state]);
    this.#retry.hidden = state !== State.RECONNECTING && state !== State.CLOSED;
    setText(this.#retry, state === State.CLOSED ? "Connect again" : "Connect now");
  }
}
