"""An agent that answers every message with its text in upper case.

    pip install websockets
    python agent.py

Environment: BRIDGE_BROKER (ws://127.0.0.1:8080), AGENT_TOKEN (dev_token).

A durable question is acknowledged only after its answer is stored. If this program dies in between,
the question comes again. The answer's id is made from the question, so that an answer that is sent
twice is delivered once.
"""

import asyncio
import hashlib
import os

from bridge import Connection, Final, Lost, Refused, TooLong

AGENT_ID = "upper"
# Each answered question is published here. `client.py listen upper/log` reads it.
LOG_TOPIC = "topic:upper/log"
BROKER = os.environ.get("BRIDGE_BROKER", "ws://127.0.0.1:8080")
KEY = os.environ.get("AGENT_TOKEN", "dev_token")


async def target():
    # With ack=explicit a durable message waits in the inbox until it is acknowledged.
    return f"{BROKER}/ws/agent?agent_id={AGENT_ID}&ack=explicit", {"Authorization": f"Bearer {KEY}"}


async def main():
    connection = Connection(target)
    # Slow work belongs into tasks: the loop below must go on reading. How much comes before it is
    # acknowledged is bounded by the bridge.
    tasks = set()
    async for frame in connection.frames():
        match frame["type"]:
            case "connection:ack":
                description = {"name": "Upper case", "capabilities": ["upper"]}
                await register(connection, description)
            case "message:send":
                task = asyncio.create_task(handle(connection, frame))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            case "system:error" | "system:lost" | "system:draining":
                print(frame["type"], frame["payload"], flush=True)


async def register(connection, description):
    try:
        await connection.send({"id": "register", "type": "agent:register", "payload": description})
    except Lost:
        return  # the next connection registers again
    print(f"connected as agent:{AGENT_ID}", flush=True)


async def handle(connection, question):
    try:
        await answer(connection, question)
    except Lost:
        print("connection lost: the question comes again", flush=True)


async def answer(connection, question):
    reply = reply_to(question)
    if "seq" not in question:  # an ephemeral question: its sender waits for it now
        await send_or_say_why(connection, {**reply, "delivery": "ephemeral"})
        return
    acknowledgement = {"type": "message:ack", "payload": {"seqs": [question["seq"]]}}
    try:
        await connection.send_durable(reply)
        entry = {"id": f"log-{reply['id']}", "type": "job:done", "target": LOG_TOPIC, "payload": reply["payload"]}
        await connection.send_durable(entry)
    except TooLong as fault:
        await connection.send(failure(reply, "too_long", str(fault)))
    except Refused as refusal:
        print(refusal, flush=True)
        if refusal.temporary:  # ask for the question again in a while
            acknowledgement = {"type": "message:nack", "payload": {"seq": question["seq"], "delay_ms": 2000}}
    await connection.send(acknowledgement)


async def send_or_say_why(connection, reply):
    try:
        await connection.send(reply)
    except TooLong as fault:
        await connection.send(failure(reply, "too_long", str(fault)))


def reply_to(question):
    payload = question.get("payload")
    text = payload.get("text") if isinstance(payload, dict) else None
    reply = {
        "id": hashlib.sha256(f"{question['source']} {question['id']}".encode()).hexdigest()[:32],
        "type": "message:done",
        "target": question["source"],
        "correlation_id": question["id"],
    }
    if not isinstance(text, str):
        return failure(reply, "no_text", "the payload has no text")
    return {**reply, "payload": {"text": text.upper()}}


def failure(reply, code, message):
    return {**reply, "type": "message:error", "payload": {"code": code, "message": message}}


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except Final as fault:
        raise SystemExit(str(fault)) from None
    except KeyboardInterrupt:
        pass
