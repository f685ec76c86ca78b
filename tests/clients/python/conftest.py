"""What the tests share: one daemon for the walk through the protocol, one without agents for the conformance cases."""

import pytest

from harness.daemon import Daemon


@pytest.fixture(scope="session")
def daemon():
    running = Daemon(AGENT_BRIDGE_STORE__DEFAULT_DELIVERY="ephemeral")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def quiet_daemon():
    running = Daemon(AGENT_BRIDGE_STORE__DEFAULT_DELIVERY="ephemeral")
    yield running
    running.stop()
