"""Every case of tests/conformance/*.json."""

import pytest

from conformance.runner import CaseRun, load_cases, wait_until_empty


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{stem}/{case['name']}") for stem, case in load_cases()])
def test_case(quiet_daemon, case):
    wait_until_empty(quiet_daemon)
    run = CaseRun(quiet_daemon, case)
    try:
        run.run()
    finally:
        run.close()


def test_names_are_unique():
    names = [case["name"] for _, case in load_cases()]
    assert len(names) == len(set(names))
