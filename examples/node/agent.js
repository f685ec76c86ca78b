// An agent that answers every message with its text in upper case.
//
//     npm install
//     node agent.js
//
// Environment: BRIDGE_BROKER (ws://127.0.0.1:8080), AGENT_TOKEN (dev_token).
//
// A durable question is acknowledged only after its answer is stored. If this program dies in
// between, the question comes again. The answer's id is made from the question, so that an answer
// that is sent twice is delivered once.

import { createHash } from "node:crypto";

import { Connection, Final, Lost, Refused, TooLong } from "./bridge.js";

const AGENT_ID = "upper";
/** Each answered question is published here. `client.js listen upper/log` reads it. */
const LOG_TOPIC = "topic:upper/log";
const BROKER = process.env.BRIDGE_BROKER ?? "ws://127.0.0.1:8080";
const KEY = process.env.AGENT_TOKEN ?? "dev_token";

// With ack=explicit a durable message waits in the inbox until it is acknowledged.
const connection = new Connection(async () => ({
  url: `${BROKER}/ws/agent?agent_id=${AGENT_ID}&ack=explicit`,
  headers: { authorization: `Bearer ${KEY}` },
}));

async function main() {
  for await (const frame of connection.frames()) {
    switch (frame.type) {
      case "connection:ack":
        register({ name: "Upper case", capabilities: ["upper"] });
        break;
      case "message:send":
        // Not awaited: this loop must go on reading. How much comes before it is acknowledged is
        // bounded by the bridge.
        handle(frame);
        break;
      case "system:error":
      case "system:lost":
      case "system:draining":
        console.log(frame.type, JSON.stringify(frame.payload));
        break;
    }
  }
}

function register(description) {
  try {
    connection.send({ id: "register", type: "agent:register", payload: description });
    console.log(`connected as agent:${AGENT_ID}`);
  } catch (error) {
    if (!(error instanceof Lost)) throw error; // the next connection registers again
  }
}

async function handle(question) {
  try {
    await answer(question);
  } catch (error) {
    if (!(error instanceof Lost)) throw error;
    console.log("connection lost: the question comes again");
  }
}

async function answer(question) {
  const reply = replyTo(question);
  if (question.seq === undefined) {
    // An ephemeral question: its sender waits for it now.
    sendOrSayWhy({ ...reply, delivery: "ephemeral" });
    return;
  }
  let acknowledgement = { type: "message:ack", payload: { seqs: [question.seq] } };
  try {
    await connection.sendDurable(reply);
    await connection.sendDurable({ id: `log-${reply.id}`, type: "job:done", target: LOG_TOPIC, payload: reply.payload });
  } catch (error) {
    if (error instanceof TooLong) {
      connection.send(failure(reply, "too_long", error.message));
    } else if (error instanceof Refused) {
      console.log(error.message);
      if (error.temporary) {
        // Ask for the question again in a while.
        acknowledgement = { type: "message:nack", payload: { seq: question.seq, delay_ms: 2000 } };
      }
    } else {
      throw error;
    }
  }
  connection.send(acknowledgement);
}

function sendOrSayWhy(reply) {
  try {
    connection.send(reply);
  } catch (error) {
    if (!(error instanceof TooLong)) throw error;
    connection.send(failure(reply, "too_long", error.message));
  }
}

function replyTo(question) {
  const reply = {
    id: createHash("sha256").update(`${question.source} ${question.id}`).digest("hex").slice(0, 32),
    type: "message:done",
    target: question.source,
    correlation_id: question.id,
  };
  const text = question.payload?.text;
  if (typeof text !== "string") return failure(reply, "no_text", "the payload has no text");
  return { ...reply, payload: { text: text.toUpperCase() } };
}

function failure(reply, code, message) {
  return { ...reply, type: "message:error", payload: { code, message } };
}

main().catch((error) => {
  console.error(error instanceof Final ? error.message : error);
  process.exit(1);
});
