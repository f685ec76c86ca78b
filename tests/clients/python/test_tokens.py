"""Tokens made by PyJWT with every algorithm at a running edge: valid ones log in, forged ones are refused with their codes."""

import importlib.util
import json
import time

import pytest

from harness.daemon import ROOT, Daemon

SECRET = "a-test-secret-without-spaces-as-the-configuration-wants-them-64!"


def maker():
    spec = importlib.util.spec_from_file_location("make_tokens", ROOT / "identity/tests/fixtures/make_tokens.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made():
    return maker().tokens(int(time.time()), SECRET)


@pytest.fixture(scope="module")
def edges(made, tmp_path_factory):
    """One edge for each kind of trust: a secret, and keys in a file."""
    keys = tmp_path_factory.mktemp("keys") / "jwks.json"
    keys.write_text(json.dumps(made["jwks"]))
    # The fixture's times are for a leeway of a minute; here time passes meanwhile.
    issuer = {"JWT_ISSUER": made["issuer"], "JWT_AUDIENCE": made["audience"], "AGENT_BRIDGE_AUTH__JWT_LEEWAY": "30s"}
    hashes = "HS256,HS384,HS512"
    curves = "RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,EdDSA"
    running = {
        "secret": Daemon(**issuer, JWT_SECRET=SECRET, AGENT_BRIDGE_AUTH__JWT_ALGORITHMS=hashes),
        "keys": Daemon(**issuer, JWKS_FILE=str(keys), AGENT_BRIDGE_AUTH__JWT_ALGORITHMS=curves),
    }
    yield running
    for daemon in running.values():
        daemon.stop()


def log_in(daemon, token):
    body = json.dumps({"token": token})
    return daemon.request("edge", "POST", "/auth/token", {"Content-Type": "application/json"}, body=body)


def test_every_algorithm_logs_in(made, edges):
    for token in made["good"]:
        if token["name"] == "fractional times":
            continue  # over within the second; the next test has one that is not
        answer = log_in(edges[token["trust"]], token["token"])
        assert answer.status == 201, (token["name"], answer.body)
        assert answer.json()["user_id"] == "ann"
    assert {"HS512", "PS384", "ES384", "EdDSA"} <= {token["name"] for token in made["good"]}


def test_times_may_be_fractional(made, edges):
    import jwt

    now = time.time()
    claims = {"iss": made["issuer"], "aud": made["audience"], "sub": "ann", "iat": now, "exp": now + 60.5}
    assert log_in(edges["secret"], jwt.encode(claims, SECRET, "HS256")).status == 201


def test_every_forged_token_is_refused_with_its_own_code(made, edges):
    for token in made["forged"]:
        answer = log_in(edges[token["trust"]], token["token"])
        assert answer.json()["error"]["code"] == token["code"], (token["name"], answer.body)
        assert answer.headers["Set-Cookie"] is None
