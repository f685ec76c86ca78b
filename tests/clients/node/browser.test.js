// The first page in Chromium, through the whole chain: page, edge, broker, demo agent, and back.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";

import { Chat, launch } from "./harness/browser.js";
import { Daemon } from "./harness/daemon.js";
import { eventually } from "./harness/eventually.js";
import { openAgent } from "./harness/wire.js";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

describe("the first page", { concurrency: 2 }, () => {
  let daemon;
  before(async () => {
    daemon = await Daemon.start({ flags: ["--demo"] });
  });
  after(() => daemon?.stop());

  async function open(context, options) {
    const chat = await Chat.open(browser, daemon.url("edge"), options);
    context.after(() => chat.context.close());
    await chat.linkIs("connected");
    return chat;
  }

  test("is served with a policy that forbids what it does not need", async (context) => {
    const chat = await open(context);
    const policy = chat.response.headers()["content-security-policy"];
    for (const rule of ["default-src 'self'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "object-src 'none'"]) {
      assert.ok(policy?.includes(rule), `${rule} is not in ${policy}`);
    }
    await chat.assertClean();
  });

  test("shows the demo agent and streams its answer", async (context) => {
    const chat = await open(context);
    await chat.agent("Demo agent").waitFor();
    assert.match(await chat.agent("Demo agent").innerText(), /idle|busy/);
    const exchange = await chat.ask("What is a bridge good for?");
    await exchange.and(chat.page.locator('[data-status="streaming"]')).waitFor();
    assert.match(await chat.answer(exchange), /What is a bridge good for\?/);
    assert.equal(await exchange.getAttribute("aria-busy"), "false");
    await chat.ask("help").then((help) => chat.answer(help));
    await chat.screenshot("chat");
    await chat.assertClean();
  });

  test("shows an agent's error beside the question, in the dark too", async (context) => {
    const chat = await open(context, { colorScheme: "dark" });
    const exchange = await chat.ask("fail");
    await exchange.and(chat.page.locator('[data-status="failed"]')).waitFor();
    assert.match(await exchange.innerText(), /demo_failure/);
    await chat.screenshot("chat-dark");
    await chat.assertClean();
  });

  test("stops a running answer", async (context) => {
    const chat = await open(context);
    const exchange = await chat.ask("count 1000");
    await exchange.and(chat.page.locator('[data-status="streaming"]')).waitFor();
    await exchange.getByRole("button", { name: "Stop" }).click();
    const stopped = await chat.answer(exchange, "stopped");
    assert.ok(!stopped.includes("1000"), stopped);
    // The agent has stopped too: it has room for the next question, and nothing more arrives for
    // this one.
    await chat.answer(await chat.ask("echo after that"));
    assert.equal(await exchange.locator('[data-role="answer"]').innerText(), stopped);
    await chat.assertClean();
  });

  test("sees agents come, change and go", async (context) => {
    const chat = await open(context);
    const agent = await openAgent(daemon, "passing/by:1");
    context.after(() => agent.terminate());
    agent.send({ id: "1", type: "agent:register", payload: { name: "Passer-by", capabilities: ["wave"] } });
    await chat.agent("Passer-by").waitFor();
    agent.send({ type: "agent:status", payload: { status: "waving" } });
    await chat.agent("Passer-by").getByText("waving").waitFor();
    await agent.close();
    await chat.agent("Passer-by").waitFor({ state: "detached" });
    await chat.assertClean();
  });

  test("talks to the agent one chooses, and shows markup as text", async (context) => {
    const chat = await open(context);
    const agent = await openAgent(daemon, "chosen-one");
    context.after(() => agent.terminate());
    agent.send({ id: "1", type: "agent:register", payload: { name: "<b>Chosen</b>" } });
    await agent.expect("agent:registered");
    await chat.agent("<b>Chosen</b>").click();
    const exchange = await chat.ask("<script>alert(1)</script> & <img src=x onerror=alert(2)>");
    const question = await agent.expect("message:send");
    assert.equal(question.target, "agent:chosen-one");
    assert.equal(question.payload.text, "<script>alert(1)</script> & <img src=x onerror=alert(2)>");
    agent.send({ type: "message:delta", target: question.source, correlation_id: question.id, payload: { text: "<i>no", index: 0 } });
    agent.send({ type: "message:done", target: question.source, correlation_id: question.id, payload: { text: "<i>no markup</i>" } });
    assert.equal(await chat.answer(exchange), "<i>no markup</i>");
    await chat.assertClean();
  });

  test("says when an agent went away before it answered", async (context) => {
    const chat = await open(context);
    const agent = await openAgent(daemon, "short-lived");
    context.after(() => agent.terminate());
    await chat.agent("short-lived").click();
    const exchange = await chat.ask("are you there?");
    await agent.expect("message:send");
    await agent.close();
    await exchange.and(chat.page.locator('[data-status="failed"]')).waitFor();
    assert.match(await exchange.innerText(), /peer_gone/);
    await exchange.getByRole("button", { name: "Ask again" }).waitFor();
    await chat.assertClean();
  });

  test("fits a phone", async (context) => {
    const chat = await open(context, { viewport: { width: 360, height: 640 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true });
    await chat.answer(await chat.ask("hello from a small screen, with a_very_long_word_".concat("x".repeat(200))));
    const overflow = await chat.page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.equal(overflow, 0, "the page is wider than the screen");
    for (const name of ["Send", "Demo agent"]) {
      const box = await chat.page.getByRole("button", { name: new RegExp(name) }).first().boundingBox();
      assert.ok(box.height >= 44, `${name} is ${box.height} px high`);
    }
    await chat.screenshot("chat-phone");
    await chat.assertClean();
  });

  test("can be used with the keyboard alone", async (context) => {
    const chat = await open(context);
    await chat.canAsk();
    const focused = () => chat.page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.id);
    await chat.page.keyboard.press("Tab");
    assert.equal(await focused(), "Skip to the message field");
    await chat.page.keyboard.press("Enter");
    await eventually("the message field has the focus", async () => (await focused()) === "question");
    await chat.page.keyboard.type("echo one");
    await chat.page.keyboard.press("Shift+Enter");
    await chat.page.keyboard.type("two");
    await chat.page.keyboard.press("Enter");
    assert.equal(await chat.answer(chat.page.getByRole("article").last()), "one\ntwo");
    await chat.assertClean();
  });
});

describe("the page comes back by itself", { concurrency: 2 }, () => {
  test("after kill -9 of the whole daemon", async (context) => {
    const daemon = await Daemon.start({ flags: ["--demo"] });
    context.after(() => daemon.stop());
    const chat = await Chat.open(browser, daemon.url("edge"));
    context.after(() => chat.context.close());
    await chat.linkIs("connected");
    const interrupted = await chat.ask("count 1000");
    await interrupted.and(chat.page.locator('[data-status="streaming"]')).waitFor();

    await daemon.end("SIGKILL");
    await chat.linkIs("reconnecting");
    await interrupted.and(chat.page.locator('[data-status="failed"]')).waitFor();
    assert.match(await interrupted.innerText(), /connection_lost/);

    await daemon.startRole("all");
    await daemon.ready();
    await chat.linkIs("connected");
    await chat.agent("Demo agent").getByText(/idle|busy/).waitFor();
    assert.equal(await chat.answer(await chat.ask("echo we are back")), "we are back");
    await chat.screenshot("chat-after-restart");
    await chat.assertClean();
  });

  test("after kill -9 of the broker alone, over the socket it has", async (context) => {
    const daemon = await Daemon.start({ roles: { broker: ["broker", "--demo"], edge: ["web"] } });
    context.after(() => daemon.stop());
    const chat = await Chat.open(browser, daemon.url("edge"));
    context.after(() => chat.context.close());
    await chat.linkIs("connected");
    assert.equal(await chat.answer(await chat.ask("echo before")), "before");

    await daemon.end("SIGKILL", "broker");
    await chat.linkIs("interrupted");
    await chat.screenshot("chat-interrupted");
    await daemon.startRole("broker");
    await daemon.ready();
    await chat.linkIs("connected");
    await chat.agent("Demo agent").getByText(/idle|busy/).waitFor();
    assert.equal(await chat.answer(await chat.ask("echo after")), "after");
    assert.equal(chat.sockets, 1, "the browser's socket stayed");
    await chat.assertClean();
  });

  test("after an orderly restart, of which it was told", async (context) => {
    const daemon = await Daemon.start({ flags: ["--demo"] });
    context.after(() => daemon.stop());
    const chat = await Chat.open(browser, daemon.url("edge"));
    context.after(() => chat.context.close());
    await chat.canAsk();

    assert.equal(await daemon.end("SIGTERM"), 0);
    await chat.page.getByText(/^The server restarts/).first().waitFor();
    await chat.linkIs("reconnecting");
    await daemon.startRole("all");
    await daemon.ready();
    assert.equal(await chat.answer(await chat.ask("echo as before")), "as before");
    await chat.assertClean();
  });

  test("keeps its session and its answers under TLS", async (context) => {
    const folder = mkdtempSync(path.join(tmpdir(), "agent-bridge-tls-"));
    context.after(() => rmSync(folder, { recursive: true, force: true }));
    const pem = path.join(folder, "edge.pem");
    const request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", pem, "-out", `${pem}.cert`, "-days", "1"];
    execFileSync("openssl", [...request, "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"], { stdio: "ignore" });
    appendFileSync(pem, readFileSync(`${pem}.cert`));
    // The edge alone speaks TLS: whether it is up, the broker beside it says.
    const daemon = await Daemon.start({ flags: ["--demo", `--set=web.tls_cert_file=${pem}`], ask: ["broker"] });
    context.after(() => daemon.stop());
    const url = daemon.url("edge").replace("http:", "https:");
    const chat = await Chat.open(browser, url, { ignoreHTTPSErrors: true });
    context.after(() => chat.context.close());
    await chat.linkIs("connected");
    const [cookie] = await chat.context.cookies();
    assert.ok(cookie.secure && cookie.httpOnly, JSON.stringify(cookie));
    assert.match(chat.response.headers()["strict-transport-security"], /^max-age=\d+$/);
    assert.equal(await chat.answer(await chat.ask("echo under TLS")), "under TLS");
    await chat.assertClean();
  });

  test("with a new session when the old one was ended", async (context) => {
    const daemon = await Daemon.start({ flags: ["--demo"] });
    context.after(() => daemon.stop());
    const chat = await Chat.open(browser, daemon.url("edge"));
    context.after(() => chat.context.close());
    await chat.linkIs("connected");
    const [before] = await chat.context.cookies();
    const status = await chat.page.evaluate(async () => (await fetch("/api/client/session", { method: "DELETE" })).status);
    assert.ok(status < 300, `ending the session answered ${status}`);
    await eventually("the page has another session", async () => {
      const [cookie] = await chat.context.cookies();
      return cookie !== undefined && cookie.value !== before.value;
    });
    await chat.linkIs("connected");
    assert.equal(await chat.answer(await chat.ask("echo hello again")), "hello again");
    await chat.assertClean();
  });
});
