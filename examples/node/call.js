// A caller that holds no socket, such as a serverless function: `fetch` and nothing else.
//
//     node call.js ask "hello bridge"         # asks agent:upper and prints its answer
//     node call.js send upper/log "a line"    # sends a message to a topic, stored
//     node call.js read upper/log             # prints the topic from its beginning, and what comes
//
// Environment: BRIDGE_EDGE (http://127.0.0.1:8081), BRIDGE_TOKEN (a session's token; without it the
// caller gets a session of its own).

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const EDGE = process.env.BRIDGE_EDGE ?? "http://127.0.0.1:8081";
/** How long one call may take. A platform with a shorter limit needs a shorter one here. */
const WAIT_MS = 10_000;
/** How often a call is repeated. */
const ATTEMPTS = 30;

/** An error of the bridge that a repetition does not mend. */
class Refused extends Error {}

async function session() {
  if (process.env.BRIDGE_TOKEN) return process.env.BRIDGE_TOKEN;
  const answer = await fetch(`${EDGE}/api/client`, { method: "POST" });
  if (!answer.ok) throw new Refused(`no session: HTTP ${answer.status}`);
  return (await answer.json()).token;
}

/**
 * Posts JSON, and repeats it while that can help. The repetition is safe: a message has its id, and a
 * request its idempotency key.
 */
async function post(token, path, body, headers = {}) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const answer = await fetch(`${EDGE}${path}`, {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...headers },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(WAIT_MS + 5_000),
      });
      const content = await answer.json();
      if (answer.ok) return content;
      const { code, message, temporary } = content.error;
      if (!temporary || attempt === ATTEMPTS) throw new Refused(`${code}: ${message}`);
      await sleep(1000 * Number(answer.headers.get("retry-after") ?? 1));
    } catch (error) {
      // The connection broke: nobody knows whether the call arrived.
      if (error instanceof Refused || attempt === ATTEMPTS) throw error;
      await sleep(1000);
    }
  }
}

async function ask(token, text, agent) {
  const question = { target: `agent:${agent}`, payload: { text }, wait_ms: WAIT_MS };
  const answer = await post(token, "/api/v1/request", question, { "idempotency-key": randomUUID() });
  return answer.payload.text;
}

async function send(token, topic, text) {
  const message = { id: randomUUID(), type: "message:send", target: `topic:${topic}`, delivery: "durable", payload: { text } };
  const { seq } = await post(token, "/api/v1/messages", message);
  return `stored as ${seq}`;
}

/** Prints a topic. After a lost connection it continues behind the last event. */
async function read(token, topic) {
  let last;
  for (;;) {
    try {
      const position = last ? { "last-event-id": last } : {};
      const answer = await fetch(`${EDGE}/api/v1/channels/topic:${encodeURIComponent(topic)}/events?from=0`, {
        headers: { authorization: `Bearer ${token}`, ...position },
      });
      if (!answer.ok) throw new Refused(`HTTP ${answer.status}: ${await answer.text()}`);
      for await (const { id, name, data } of events(answer.body)) {
        last = id ?? last;
        if (!name) console.log(JSON.stringify(JSON.parse(data).payload));
      }
    } catch (error) {
      if (error instanceof Refused) throw error;
    }
    await sleep(1000);
  }
}

/** The events of a stream: fields of a block, which ends with an empty line. */
async function* events(body) {
  let text = "";
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const field = (name) => text.slice(0, end).split("\n").filter((line) => line.startsWith(`${name}: `));
      const value = (name) => field(name).map((line) => line.slice(name.length + 2)).join("\n") || undefined;
      if (value("data")) yield { id: value("id"), name: value("event"), data: value("data") };
    }
  }
}

async function main([command, one, other]) {
  const token = await session();
  if (command === "ask" && one) console.log(await ask(token, one, other ?? "upper"));
  else if (command === "send" && one && other) console.log(await send(token, one, other));
  else if (command === "read" && one) await read(token, one);
  else throw new Refused("usage: node call.js ask TEXT [AGENT] | send TOPIC TEXT | read TOPIC");
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error instanceof Refused ? error.message : error);
  process.exit(1);
});
