// A client that asks an agent, or listens to a topic.
//
//     npm install
//     node client.js ask "hello bridge"       # waits for the answer of agent:upper
//     node client.js listen upper/log         # prints the topic from where the last run stopped
//
// Environment: BRIDGE_EDGE (http://127.0.0.1:8081), BRIDGE_STATE (bridge-client.json).
//
// The state file holds the session and the positions up to which messages were processed. It is
// secret: whoever has the token can use the session.

import { randomUUID } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import { Connection, Final, Lost, TooLong } from "./bridge.js";

const EDGE = process.env.BRIDGE_EDGE ?? "http://127.0.0.1:8081";
const STATE = process.env.BRIDGE_STATE ?? "bridge-client.json";

/** What outlives this program: the session, and a position for each channel. */
class State {
  constructor() {
    const kept = existsSync(STATE) ? JSON.parse(readFileSync(STATE, "utf8")) : {};
    this.token = kept.token;
    this.positions = kept.positions ?? {};
  }

  /** The message was processed: after a restart, continue behind it. */
  note({ channel, epoch, seq }) {
    this.positions[channel] = { epoch, seq };
    this.save();
  }

  save() {
    const { token, positions } = this;
    writeFileSync(`${STATE}.new`, JSON.stringify({ token, positions }), { mode: 0o600 });
    renameSync(`${STATE}.new`, STATE); // a crash leaves the old file or the new one, never half of one
  }

  /** Gets the session, or a new one, and says where to dial. */
  async target() {
    const session = await this.requestSession();
    if (session.token && session.token !== this.token) {
      this.token = session.token;
      this.save();
    }
    // With resume=true the inbox waits until `connection:resume` has told the positions.
    const url = `${EDGE.replace(/^http/, "ws")}/ws/${session.client_id}?ack=explicit&resume=true`;
    return { url, headers: { authorization: `Bearer ${this.token}` } };
  }

  async requestSession() {
    const headers = this.token ? { authorization: `Bearer ${this.token}` } : {};
    const answer = await fetch(`${EDGE}/api/client`, { method: "POST", headers, signal: AbortSignal.timeout(10_000) });
    if (answer.ok) return answer.json();
    const text = `HTTP ${answer.status}: ${await answer.text()}`;
    if (answer.status === 429 || answer.status >= 500) throw new Error(text); // temporary: tried again
    if (answer.status !== 401 || !this.token) throw new Final(text);
    this.token = undefined; // the session has ended: begin a new one
    return this.requestSession();
  }

  /** Continues in the inbox and in the topic behind what was processed. */
  resume(topic) {
    const wanted = Object.entries(this.positions).filter(([channel]) => channel === topic || !channel.startsWith("topic:"));
    return { id: "resume", type: "connection:resume", payload: { channels: Object.fromEntries(wanted) } };
  }
}

async function ask(state, agent, text) {
  const connection = new Connection(() => state.target());
  const question = { id: randomUUID(), type: "message:send", target: `agent:${agent}`, delivery: "durable", payload: { text } };
  let stored = false;
  for await (const frame of connection.frames()) {
    const isMine = frame.correlation_id === question.id;
    await unlessLost(async () => {
      if (frame.type === "connection:ack") {
        connection.send(state.resume());
        // With the same id: if it was stored before, it is not delivered twice.
        if (!stored) connection.send(question);
      } else if (isMine && frame.type === "message:accepted") {
        stored = true;
      } else if (isMine && frame.type === "system:error" && frame.payload.temporary) {
        // For instance, the agent is not connected. Try again in a while.
        console.error(frame.payload.message);
        await sleep(frame.payload.retry_after_ms ?? 1000);
        connection.send(question);
      } else if (isMine && ["system:error", "message:error"].includes(frame.type)) {
        throw new Final(`${frame.payload.code}: ${frame.payload.message}`);
      }
      processed(connection, state, frame);
    });
    if (isMine && frame.type === "message:done") return frame.payload.text;
  }
}

async function listen(state, topic) {
  const connection = new Connection(() => state.target());
  for await (const frame of connection.frames()) {
    await unlessLost(async () => {
      if (frame.type === "connection:ack") {
        connection.send(state.resume(topic));
        if (!state.positions[topic]) {
          // From the beginning of the log.
          connection.send({ id: "subscribe", type: "topic:subscribe", payload: { topic, from: { seq: 0 } } });
        }
      } else if (["connection:resumed", "topic:subscribed", "system:lost", "system:error"].includes(frame.type)) {
        report(topic, frame);
      } else if (frame.channel === topic && frame.seq !== undefined) {
        console.log(JSON.stringify(frame.payload));
      }
      processed(connection, state, frame);
    });
  }
}

/** If the connection is lost, the next one begins with `connection:ack` again. */
async function unlessLost(action) {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Lost)) throw error;
  }
}

/** A durable message was processed: note its position, and acknowledge it if it is of an inbox. */
function processed(connection, state, frame) {
  if (frame.seq === undefined) return;
  state.note(frame);
  if (/^(session|user):/.test(frame.channel)) {
    connection.send({ type: "message:ack", payload: { channel: frame.channel, seqs: [frame.seq] } });
  }
}

/** Says so if messages of the topic are lost, for instance to retention. */
function report(topic, frame) {
  const outcome = frame.payload.channels?.[topic] ?? frame.payload;
  if (frame.type.startsWith("system:") || outcome.recovered === false) {
    console.log(`${frame.type}: ${JSON.stringify(outcome)}`);
  }
}

async function main([command, argument, agent = "upper"]) {
  if (command === "ask" && argument) {
    console.log(await ask(new State(), agent, argument));
  } else if (command === "listen" && argument) {
    await listen(new State(), `topic:${argument}`);
  } else {
    throw new Final("usage: node client.js ask TEXT [AGENT] | node client.js listen TOPIC");
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error instanceof Final || error instanceof TooLong ? error.message : error);
  process.exit(1);
});
