"""A walk through docs/protocol.md with Python's `websockets`, an independent client."""

import signal
import threading
import uuid
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

from harness import wire
from harness.daemon import Daemon
from harness.wire import Peer, Refused, Session


@pytest.fixture
def open_peers():
    """Opens peers that are closed at the end of the test."""
    peers = []

    def keep(peer):
        peers.append(peer)
        return peer

    yield keep
    for peer in peers:
        peer.close()


@pytest.fixture
def planner(daemon, open_peers):
    """An agent with a unique id, so that tests do not interfere."""
    return open_peers(wire.agent(daemon, f"planner-{uuid.uuid4()}"))


@pytest.fixture
def viewer(daemon, planner, open_peers):
    """A session that talks to `planner`."""
    return open_peers(wire.session(daemon, agent=planner.ack["agent_id"]))


def address(peer):
    ack = peer.ack
    return f"session:{ack['session_id']}" if ack["session_id"] else f"agent:{ack['agent_id']}"


# 1. Connections

def test_agent_hears_who_it_is_and_what_holds(planner):
    ack = planner.ack
    assert ack["protocol"] == 1
    assert ack["server"] == "agent-bridge"
    assert ack["agent_id"].startswith("planner-")
    assert ack["heartbeat"] == {"interval_ms": 5000, "timeout_ms": 30000}
    assert ack["limits"]["max_frame_bytes"] == 1_048_576


def test_agent_key_is_accepted_without_bearer(daemon, open_peers):
    url = daemon.url("broker", f"/ws/agent?agent_id=plain-{uuid.uuid4()}")
    open_peers(Peer(url, {"authorization": daemon.agent_key}))


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "wrong"}])
def test_wrong_or_missing_key_is_refused_before_the_upgrade(daemon, headers):
    with pytest.raises(Refused) as refused:
        Peer(daemon.url("broker", "/ws/agent?agent_id=x"), headers)
    assert refused.value.status == 401
    assert refused.value.code == "unauthorized"


def test_session_comes_through_the_edge_with_its_token(viewer):
    assert viewer.ack["session_id"] == viewer.session.id
    assert viewer.ack["agent_id"].startswith("planner-")


def test_session_of_somebody_else_is_not_opened(daemon):
    mine, theirs = Session(daemon), Session(daemon)
    with pytest.raises(Refused) as refused:
        Peer(daemon.url("edge", f"/ws/{theirs.id}"), mine.bearer)
    assert refused.value.status == 403


def test_subprotocol_is_confirmed(daemon, open_peers):
    open_peers(wire.agent(daemon, f"sub-{uuid.uuid4()}", subprotocol=True))
    open_peers(wire.session(daemon, subprotocol=True))


def test_no_extension_is_negotiated(planner, viewer):
    assert planner.socket.protocol.extensions == []
    assert viewer.socket.protocol.extensions == []


def test_newer_connection_takes_the_agent_over(daemon, planner, viewer, open_peers):
    newer = open_peers(wire.agent(daemon, planner.ack["agent_id"]))
    assert planner.wait_closed() == 4009
    viewer.send({"id": "q1", "type": "message:send", "payload": {"text": "who is it?"}})
    assert newer.expect("message:send")["id"] == "q1"


# 2 and 3. The envelope, addresses

def test_register_answers_with_the_agent(planner):
    planner.send({"id": "1", "type": "agent:register", "payload": {"name": "Planner", "capabilities": ["plan"], "labels": {"team": "a"}}})
    answer = planner.expect("agent:registered", correlation_id="1")["payload"]
    assert answer["agent"]["name"] == "Planner"
    assert answer["agent"]["capabilities"] == ["plan"]
    assert answer["agent"]["labels"] == {"team": "a"}


def test_message_goes_there_and_back(planner, viewer):
    viewer.send({"id": "q1", "type": "message:send", "payload": {"text": "hello"}, "x_trace": [1]})
    question = planner.expect("message:send", id="q1")
    assert question["source"] == address(viewer)
    assert question["payload"] == {"text": "hello"}
    assert question["x_trace"] == [1]
    planner.send({"id": "a1", "type": "message:send", "target": question["source"], "correlation_id": "q1", "payload": {"text": "hi"}})
    answer = viewer.expect("message:send", id="a1")
    assert answer["source"] == address(planner)
    assert answer["correlation_id"] == "q1"


def test_answer_streams_in_order(planner, viewer):
    viewer.send({"id": "q1", "type": "message:send", "timeout_ms": 5000, "payload": {"text": "hello"}})
    question = planner.expect("message:send")
    for index in range(200):
        planner.send({"type": "message:delta", "target": question["source"], "correlation_id": "q1", "payload": {"text": "x", "index": index}})
    planner.send({"type": "message:done", "delivery": "ephemeral", "target": question["source"], "correlation_id": "q1", "payload": {"text": "x" * 200}})
    indexes = [viewer.expect("message:delta", correlation_id="q1")["payload"]["index"] for _ in range(200)]
    assert indexes == list(range(200))
    assert viewer.expect("message:done", correlation_id="q1")["payload"]["text"] == "x" * 200


def test_unroutable_message_is_answered_with_a_correlated_error(viewer):
    viewer.send({"id": "42", "type": "message:send", "target": "agent:ghost", "payload": {}})
    error = viewer.expect_error("agent_not_found", "42")
    assert error["temporary"] is True
    assert error["target"] == "agent:ghost"
    assert "agent:list" in error["message"]


def test_session_may_not_send_to_a_session(viewer):
    viewer.send({"id": "1", "type": "message:send", "target": f"session:{uuid.uuid4()}", "payload": {}})
    viewer.expect_error("not_allowed", "1")


# 4. What the bridge understands

def test_ping_is_answered_with_its_payload(planner, viewer):
    for peer in (planner, viewer):
        peer.send({"id": "p", "type": "connection:ping", "payload": {"t": 1}})
        assert peer.expect("connection:pong", correlation_id="p")["payload"] == {"t": 1}
        peer.ping("and on the socket's own level")


def test_topic_carries_messages_and_presence(daemon, planner, viewer, open_peers):
    topic = f"room-{uuid.uuid4()}"
    viewer.send({"id": "1", "type": "topic:subscribe", "payload": {"topic": topic, "presence": True}})
    viewer.expect("topic:subscribed", correlation_id="1")
    other = open_peers(wire.session(daemon))
    other.send({"id": "2", "type": "topic:subscribe", "payload": {"topic": topic}})
    other.expect("topic:subscribed", correlation_id="2")
    assert viewer.expect("presence:join")["payload"] == {"topic": topic, "member": address(other)}
    planner.send({"id": "m1", "type": "message:send", "target": f"topic:{topic}", "payload": 1})
    for peer in (viewer, other):
        assert peer.expect("message:send", id="m1")["target"] == f"topic:{topic}"
    other.close()
    assert viewer.expect("presence:leave")["payload"] == {"topic": topic, "member": address(other)}


def test_sessions_hear_of_agents(daemon, viewer, open_peers):
    name = f"passing-{uuid.uuid4()}"
    passing = open_peers(wire.agent(daemon, name))
    while viewer.expect("agent:connected")["payload"]["agent"]["agent_id"] != name:
        pass
    passing.close()
    while viewer.expect("agent:disconnected")["payload"]["agent_id"] != name:
        pass


# 5. Request and reply

def test_request_without_an_answer_times_out(planner, viewer):
    viewer.send({"id": "q1", "type": "message:send", "timeout_ms": 50, "payload": {}})
    planner.expect("message:send", id="q1")
    viewer.expect_error("reply_timeout", "q1")


def test_request_to_a_peer_that_goes_is_told(planner, viewer):
    viewer.send({"id": "q1", "type": "message:send", "timeout_ms": 60000, "payload": {}})
    planner.expect("message:send", id="q1")
    planner.close()
    viewer.expect_error("peer_gone", "q1")


# 6 and 8. Limits, drain, closes

def test_oversized_message_closes_with_1009(planner):
    with suppress(ConnectionClosed):  # the server need not wait for all of it
        planner.send({"type": "message:send", "target": "agent:x", "payload": "x" * 1_048_576})
    assert planner.wait_closed() == 1009


def test_binary_frame_closes_with_1003(viewer):
    viewer.send_bytes(b"\x00\x01", "binary")
    assert viewer.wait_closed() == 1003


def test_invalid_envelope_is_told_and_the_connection_stays(planner):
    planner.send_raw("{")
    assert planner.expect("system:error")["payload"]["code"] == "invalid_envelope"
    planner.send({"id": "p", "type": "connection:ping"})
    planner.expect("connection:pong", correlation_id="p")


def test_many_sessions_talk_at_once(daemon, planner, open_peers):
    viewers = [open_peers(wire.session(daemon, agent=planner.ack["agent_id"])) for _ in range(20)]

    def answer_all():
        for _ in range(20 * 25):
            question = planner.expect("message:send", within=20)
            planner.send({"type": "message:done", "target": question["source"], "correlation_id": question["id"], "payload": question["payload"]})

    answering = threading.Thread(target=answer_all, daemon=True)
    answering.start()
    for number in range(25):
        for viewer in viewers:
            viewer.send({"id": f"q{number}", "type": "message:send", "delivery": "ephemeral", "payload": [viewer.session.id, number]})
    for viewer in viewers:
        for number in range(25):
            answer = viewer.expect("message:done", within=20)
            assert answer["correlation_id"] == f"q{number}"
            assert answer["payload"] == [viewer.session.id, number]
    answering.join(10)
    assert not answering.is_alive()


def test_drain_is_announced_and_everybody_is_closed_with_1012():
    daemon = Daemon()
    try:
        agent, viewer = wire.agent(daemon, "planner"), wire.session(daemon)
        daemon.signal(signal.SIGTERM)
        for peer in (agent, viewer):
            assert peer.expect("system:draining", within=10)["payload"]["close_within_ms"] > 0
            assert peer.wait_closed(within=15) == 1012
        assert daemon.wait(within=20) == 0
    finally:
        daemon.stop()
