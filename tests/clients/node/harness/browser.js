// The first page in a real browser.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import path from "node:path";

import { chromium } from "playwright-core";

const EXECUTABLE = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** What a browser logs while a server is away; everything else is a fault of the page. */
const SERVER_AWAY = /^(WebSocket connection to '.*' failed|Failed to load resource: net::ERR_)/;
const WITHIN_MS = 15_000;

export function launch() {
  return chromium.launch({ executablePath: EXECUTABLE, args: FLAGS });
}

/** The page at `url`, in a browser profile of its own. */
export class Chat {
  static async open(browser, url, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1200, height: 780 }, ...options });
    context.setDefaultTimeout(WITHIN_MS);
    const chat = new Chat();
    chat.context = context;
    chat.page = await context.newPage();
    chat.faults = [];
    chat.sockets = 0;
    chat.page.on("console", (message) => {
      const text = message.text();
      if (["error", "warning"].includes(message.type()) && !SERVER_AWAY.test(text)) chat.faults.push(text);
    });
    chat.page.on("pageerror", (error) => chat.faults.push(String(error)));
    chat.page.on("websocket", () => (chat.sockets += 1));
    await chat.page.addInitScript(() => {
      window.violations = [];
      document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
    });
    chat.response = await chat.page.goto(url);
    return chat;
  }

  /** Waits until the page says that its connection is in this state. */
  async linkIs(state) {
    await this.page.locator(`#link-state[data-state="${state}"]`).waitFor();
  }

  agent(name) {
    return this.page.getByRole("navigation", { name: "Agents" }).getByRole("button", { name: new RegExp(name) });
  }

  /** Waits until there is a connection and an agent to send to. */
  async canAsk() {
    await this.page.locator("#send:enabled").waitFor();
  }

  async ask(text) {
    await this.canAsk();
    const field = this.page.getByLabel("Your message");
    await field.fill(text);
    await field.press("Enter");
    return this.page.getByRole("article").filter({ hasText: text }).last();
  }

  /** Waits until the exchange has this status; returns its answer. */
  async answer(exchange, status = "done") {
    await exchange.and(this.page.locator(`[data-status="${status}"]`)).waitFor();
    return exchange.locator('[data-role="answer"]').innerText();
  }

  /** Saves a picture in the folder `AGENT_BRIDGE_SCREENSHOTS`, if it is set. */
  async screenshot(name) {
    const folder = process.env.AGENT_BRIDGE_SCREENSHOTS;
    if (!folder) return;
    mkdirSync(folder, { recursive: true });
    await this.page.screenshot({ path: path.join(folder, `${name}.png`) });
  }

  /** Fails if the page broke its security policy, or logged anything but a server that was away. */
  async assertClean() {
    assert.deepEqual(await this.page.evaluate(() => window.violations), []);
    assert.deepEqual(this.faults, []);
  }
}
