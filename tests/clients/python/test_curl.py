"""The HTTP parts of docs/protocol.md, and a WebSocket handshake, with nothing but curl."""

import json
import subprocess

from harness.daemon import Daemon

import pytest

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = [
    "-H", "Connection: Upgrade", "-H", "Upgrade: websocket",
    "-H", "Sec-WebSocket-Version: 13", "-H", f"Sec-WebSocket-Key: {KEY}",
]


@pytest.fixture(scope="module")
def curled():
    server = Daemon()
    yield server
    server.stop()


def curl(server, part, path, *options):
    """Status, headers as text, and body of one request."""
    url = f"http://127.0.0.1:{server.ports[part]}{path}"
    done = subprocess.run(["curl", "-s", "-i", "--max-time", "10", *options, url], capture_output=True, timeout=30)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), body


def test_a_session_is_registered_described_and_ended(curled, tmp_path):
    jar = str(tmp_path / "cookies")
    status, head, body = curl(curled, "edge", "/api/client", "-X", "POST", "-c", jar)
    client = json.loads(body)
    assert status == 201 and client["new_session"] is True
    assert "httponly" in head.lower() and "samesite=strict" in head.lower()
    path = f"/api/client/{client['client_id']}"
    bearer = ["-H", f"Authorization: Bearer {client['token']}"]
    assert curl(curled, "edge", path)[0] == 401
    assert curl(curled, "edge", path, *bearer)[0] == 200
    assert json.loads(curl(curled, "edge", path, "-b", jar)[2])["client_id"] == client["client_id"]
    other = json.loads(curl(curled, "edge", "/api/client", "-X", "POST")[2])
    assert curl(curled, "edge", f"/api/client/{other['client_id']}", *bearer)[0] == 403
    assert curl(curled, "edge", "/api/client/session", "-X", "DELETE", *bearer)[0] == 204
    assert curl(curled, "edge", path, *bearer)[0] == 401


def test_a_handshake_is_answered_with_101_and_the_first_frame(curled):
    options = [*HANDSHAKE, "-H", f"Authorization: Bearer {curled.agent_key}", "--max-time", "1", "--no-buffer", "--http1.1"]
    status, head, body = curl(curled, "broker", "/ws/agent?agent_id=curl", *options)
    assert status == 101
    assert "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    assert b'"type":"connection:ack"' in body and b'"agent_id":"curl"' in body


def test_refusals_come_before_the_upgrade_with_a_code(curled):
    for options, path, expected in [
        (HANDSHAKE, "/ws/agent", (401, "unauthorized")),
        ([*HANDSHAKE, "-H", "Authorization: wrong"], "/ws/agent", (401, "unauthorized")),
        ([*HANDSHAKE, "-H", "Authorization: x"], "/ws/client/not-a-uuid", (400, "invalid_session_id")),
        (["-H", f"Authorization: {curled.agent_key}"], "/ws/agent", (426, "upgrade_required")),
        ([], "/nothing", (404, "not_found")),
        (["-X", "POST"], "/stats", (405, "method_not_allowed")),
    ]:
        status, _, body = curl(curled, "broker", path, *options)
        error = json.loads(body)["error"]
        assert (status, error["code"]) == expected, path
        assert error["message"] and error["temporary"] is False


def test_messages_and_requests_go_over_http(curled):
    client = json.loads(curl(curled, "edge", "/api/client", "-X", "POST")[2])
    bearer = ["-H", f"Authorization: Bearer {client['token']}"]
    message = '{"id":"1","type":"a:b","target":"topic:curl","delivery":"durable","payload":"hello"}'
    for duplicate in [False, True]:
        status, _, body = curl(curled, "edge", "/api/v1/messages", *bearer, "-d", message)
        assert status == 200 and json.loads(body)["duplicate"] is duplicate
    status, _, body = curl(curled, "edge", "/api/v1/request", *bearer, "-d", '{"target":"agent:nobody"}')
    assert (status, json.loads(body)["error"]["code"]) == (404, "agent_not_found")
    key = ["-H", f"Authorization: Bearer {curled.agent_key}"]
    for part, path, options in [
        ("edge", "/api/v1/channels/topic:curl/events?from=0", bearer),
        ("broker", "/api/v1/channels/topic:curl/events?from=0&agent_id=curl", key),
    ]:
        status, head, body = curl(curled, part, path, *options, "-N", "--max-time", "1")
        assert status == 200 and "text/event-stream" in head
        assert b'"payload":"hello"' in body, part


def test_operators_see_health_and_statistics(curled):
    assert json.loads(curl(curled, "broker", "/health/live")[2]) == {"status": "live"}
    assert json.loads(curl(curled, "broker", "/health/ready")[2]) == {"status": "ready"}
    stats = json.loads(curl(curled, "broker", "/stats")[2])
    assert stats["server"] == "agent-bridge" and stats["store"]["ready"] is True
    assert curl(curled, "edge", "/health/ready")[0] == 200
