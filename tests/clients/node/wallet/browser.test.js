// Signing in and out on the first page in Chromium, with a wallet whose key is viem's.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { toHex } from "viem";
import { Chat, launch } from "../harness/browser.js";
import { Daemon } from "../harness/daemon.js";
import { eventually } from "../harness/eventually.js";
import { openAgent } from "../harness/wire.js";
import { sign, signer } from "./logins.js";

let browser, daemon;
before(async () => {
  browser = await launch();
  daemon = await Daemon.start({ flags: ["--demo"] });
});
after(async () => {
  await browser?.close();
  await daemon?.stop();
});

/** The page with a wallet injected, as extensions do it, that signs what it is asked to. */
async function open(context, answer = (hex) => sign({ raw: hex })) {
  const profile = await browser.newContext();
  await profile.exposeFunction("signByTheWallet", async (hex) => answer(hex));
  context.after(() => profile.close());
  await profile.addInitScript(
    ({ address }) => {
      window.ethereum = {
        async request({ method, params }) {
          if (method === "eth_requestAccounts") return [address.toLowerCase()];
          if (method === "eth_chainId") return "0x1";
          if (method !== "personal_sign") throw new Error(`not asked for: ${method}`);
          const signature = await window.signByTheWallet(params[0]);
          if (signature === null) throw Object.assign(new Error("User rejected the request."), { code: 4001 });
          return signature;
        },
      };
    },
    { address: signer.address },
  );
  const chat = await Chat.open({ newContext: async () => profile }, daemon.url("edge"));
  await chat.linkIs("connected");
  return chat;
}

const account = (chat) => chat.page.getByRole("group", { name: "Account" });
const short = `${signer.address.slice(0, 6)}…${signer.address.slice(-4)}`;

describe("signing in on the page", () => {
  test("keeps the socket and the session, shows the address, and agents hear of it", async (context) => {
    const agent = await openAgent(daemon, "watcher");
    context.after(() => agent.terminate());
    const chat = await open(context);
    const sockets = chat.sockets;
    await account(chat).getByRole("button", { name: "Sign in" }).click();
    await account(chat).getByText(short).waitFor();
    const told = await agent.expect("session:identified");
    assert.equal(told.payload.wallet_address, signer.address);
    assert.equal(chat.sockets, sockets, "the socket stayed");
    assert.equal(await account(chat).getByRole("button", { name: "Sign in" }).isVisible(), false);
    await chat.agent("Demo agent").click();
    assert.equal(await chat.answer(await chat.ask("echo as myself")), "as myself");
    await chat.screenshot("signed-in");

    const tab = await chat.context.newPage();
    await tab.goto(daemon.url("edge"));
    await tab.getByText(short).waitFor();
    await account(chat).getByRole("button", { name: "Sign out" }).click();
    for (const page of [chat.page, tab]) await page.getByRole("button", { name: "Sign in" }).waitFor();
    await chat.linkIs("connected");
    assert.equal(await chat.page.getByText(short).isVisible(), false);
    await eventually("the next session is another, and nobody's", async () => {
      const list = await sessionsOf(agent);
      return list.every(({ session_id, user_id }) => session_id !== told.payload.session_id && user_id === null);
    });
    await chat.assertClean();
  });

  test("is up to the person, who is told what went wrong", async (context) => {
    const answers = [null, toHex("no signature"), undefined];
    const chat = await open(context, async (hex) => {
      const answer = answers.shift();
      return answer === undefined ? sign({ raw: hex }) : answer;
    });
    const button = account(chat).getByRole("button", { name: "Sign in" });
    await button.click(); // cancelled in the wallet: nothing to tell
    await eventually("the button is there again", () => button.isEnabled());
    await button.click();
    await chat.page.getByText("The signature does not have 65 bytes.").waitFor();
    await button.click();
    await account(chat).getByText(short).waitFor();
  });

  test("is not offered without a wallet", async (context) => {
    const chat = await Chat.open(browser, daemon.url("edge"));
    context.after(() => chat.context.close());
    await chat.linkIs("connected");
    assert.equal(await chat.page.getByRole("button", { name: "Sign in" }).isVisible(), false);
    await chat.assertClean();
  });
});

async function sessionsOf(agent) {
  agent.send({ id: "list", type: "session:list" });
  for (;;) {
    const frame = await agent.next();
    if (frame.type === "session:listed") return frame.payload.sessions;
  }
}
