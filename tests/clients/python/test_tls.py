"""TLS as clients of other languages see it: Python's ssl and curl's OpenSSL against certificates that openssl made.

The WebSocket client is the asyncio one: its other one reads in a thread of its own, and one TLS connection of Python's ssl in two
threads can lose what is written (python/cpython#151508).
"""

import asyncio
import json
import socket
import ssl
import subprocess

from websockets.exceptions import InvalidStatus
from websockets.asyncio.client import connect

from harness.daemon import Daemon

import pytest

NAME = "localhost"


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An authority, a certificate for the servers, and one for an agent."""
    folder = tmp_path_factory.mktemp("tls")
    key = ["-newkey", "rsa:2048", "-nodes"]
    openssl(folder, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Test authority")
    for name, extension in [("server", f"subjectAltName=DNS:{NAME},IP:127.0.0.1"), ("agent", "subjectAltName=DNS:planner")]:
        (folder / f"{name}.ext").write_text(extension)
        openssl(folder, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "1", "-extfile", f"{name}.ext")
    return folder


@pytest.fixture(scope="module")
def daemon(folder):
    settings = {f"{part}.tls_{kind}_file": folder / f"server.{'pem' if kind == 'cert' else 'key'}"
                for part in ("broker", "web") for kind in ("cert", "key")}
    settings |= {"broker.client_ca_file": folder / "ca.pem", "broker.client_certificates": "required", "broker.client_names": "true"}
    running = Daemon(*(f"--set={key}={value}" for key, value in settings.items()), ca_file=folder / "ca.pem")
    yield running
    running.stop()


def trusting(folder, certificate=None):
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    if certificate:
        context.load_cert_chain(folder / f"{certificate}.pem", folder / f"{certificate}.key")
    return context


def curl(daemon, part, path, *options):
    url = f"https://{NAME}:{daemon.ports[part]}{path}"
    return subprocess.run(["curl", "-s", "-i", "--max-time", "10", *options, url], capture_output=True, timeout=30)


def test_a_session_and_an_agent_with_a_certificate_talk(daemon, folder):
    asyncio.run(talk(daemon, folder))


async def talk(daemon, folder):
    client = json.loads(daemon.request("edge", "POST", "/api/client").body)
    headers = {"Authorization": f"Bearer {daemon.agent_key}"}
    agent_url = f"wss://{NAME}:{daemon.ports['broker']}/ws/agent?agent_id=planner"
    client_url = f"wss://{NAME}:{daemon.ports['edge']}/ws/{client['client_id']}"
    async with connect(agent_url, ssl=trusting(folder, "agent"), additional_headers=headers) as agent, \
            connect(client_url, ssl=trusting(folder), additional_headers={"Authorization": f"Bearer {client['token']}"}) as session:
        await until(agent, "connection:ack")
        await until(session, "connection:ack")
        payload = "p" * 300_000
        await session.send(json.dumps({"type": "message:send", "target": "agent:planner", "payload": payload}))
        assert (await until(agent, "message:send"))["payload"] == payload
        await agent.send(json.dumps({"type": "message:send", "target": f"session:{client['client_id']}", "payload": payload}))
        assert (await until(session, "message:send"))["payload"] == payload


async def until(socket, kind):
    while True:
        frame = json.loads(await asyncio.wait_for(socket.recv(), 10))
        if frame["type"] == kind:
            return frame


def test_an_agent_without_a_certificate_is_refused_with_a_code(daemon, folder):
    async def dial():
        headers = {"Authorization": f"Bearer {daemon.agent_key}"}
        url = f"wss://{NAME}:{daemon.ports['broker']}/ws/agent?agent_id=planner"
        await connect(url, ssl=trusting(folder), additional_headers=headers)

    with pytest.raises(InvalidStatus) as refused:
        asyncio.run(dial())
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body)["error"]["code"] == "client_certificate_required"


def test_versions_older_than_1_2_are_refused(daemon, folder):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = trusting(folder)
        context.minimum_version = context.maximum_version = version
        with connect_raw(daemon, context) as socket:
            assert socket.version() == version.name.replace("_", ".")
            assert socket.selected_alpn_protocol() is None
    context = trusting(folder)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect_raw(daemon, context)


def test_http_1_1_is_agreed_on_where_others_are_offered_too(daemon, folder):
    context = trusting(folder)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connect_raw(daemon, context) as socket:
        assert socket.selected_alpn_protocol() == "http/1.1"


def connect_raw(daemon, context):
    plain = socket.create_connection(("127.0.0.1", daemon.ports["edge"]), timeout=10)
    return context.wrap_socket(plain, server_hostname=NAME)


def test_curl_needs_the_authority_and_gets_hsts(daemon, folder):
    assert curl(daemon, "edge", "/health/ready").returncode == 60
    trusted = ["--cacert", str(folder / "ca.pem")]
    page = curl(daemon, "edge", "/", "--resolve", f"{NAME}:{daemon.ports['edge']}:127.0.0.1", *trusted)
    assert page.stdout.startswith(b"HTTP/1.1 200"), page
    assert b"strict-transport-security" not in page.stdout.lower(), "localhost is left alone"
    by_address = subprocess.run(
        ["curl", "-s", "-i", "--max-time", "10", *trusted, f"https://127.0.0.1:{daemon.ports['edge']}/"],
        capture_output=True, timeout=30,
    )
    assert b"strict-transport-security: max-age=15552000" in by_address.stdout.lower()


def test_plain_http_hears_that_it_must_be_tls(daemon):
    for part in ("broker", "edge"):
        url = f"http://127.0.0.1:{daemon.ports[part]}/health/ready"
        answer = subprocess.run(["curl", "-s", "--max-time", "10", url], capture_output=True, timeout=30)
        assert json.loads(answer.stdout)["error"]["code"] == "tls_required"
