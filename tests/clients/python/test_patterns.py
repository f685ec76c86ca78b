"""The conformance runner's own rules: a runner that matches everything would accept every server."""

import pytest

from conformance.patterns import fill_in, mismatch, spell_out

UUID = "4b0c7a1e-2f5d-4c9b-8e36-0d9b6f1c2a55"


@pytest.mark.parametrize(("pattern", "value"), [
    ({"a": 1}, {"a": 1, "b": 2}),
    ({"a": "$any"}, {"a": None}),
    ({"a": "$none"}, {}),
    ({"a": "$none"}, {"a": None}),
    ({"a": None}, {"a": None}),
    ("$uuid", UUID),
    ("$timestamp", "2026-01-01T12:00:00.000Z"),
    ([1, "$integer"], [1, 2]),
    ({"$contains": [{"id": 2}]}, [{"id": 1}, {"id": 2, "x": 3}]),
    ({"$lacks": [{"id": 3}]}, [{"id": 1}]),
    ({}, {"any": "object"}),
    ("${known}", "value"),
    ("a ${known} b", "a value b"),
    (100.0, 100),
])
def test_matches(pattern, value):
    assert mismatch(pattern, value, {"known": "value"}) is None


@pytest.mark.parametrize(("pattern", "value"), [
    ({"a": 1}, {"a": 2}),
    ({"a": 1}, {}),
    ({"a": 1}, {"a": True}),
    ({"a": True}, {"a": 1}),
    ({"a": None}, {}),
    ({"a": "$any"}, {}),
    ({"a": "$none"}, {"a": 0}),
    ("$uuid", "4b0c7a1e"),
    ("$string", ""),
    ("$integer", True),
    ("$timestamp", "2026-01-01 12:00"),
    ([1], [1, 2]),
    ({"$contains": [{"id": 3}]}, [{"id": 1}]),
    ({"$lacks": [{"id": 1}]}, [{"id": 1}]),
    ({}, "text"),
    ("${known}", "other"),
])
def test_does_not_match(pattern, value):
    assert mismatch(pattern, value, {"known": "value"}) is not None


def test_capture_is_kept():
    variables = {}
    assert mismatch({"id": "$capture:first"}, {"id": 7}, variables) is None
    assert fill_in({"id": "${first}", "text": "no ${first}"}, variables) == {"id": 7, "text": "no 7"}


def test_unknown_variable_is_an_error_of_the_case():
    with pytest.raises(KeyError, match="nobody"):
        fill_in("${nobody}", {})


def test_fill_makes_the_text_as_long_as_it_says():
    assert spell_out(["ab", {"fill": "x", "to_bytes": 5}, "cd"], {}) == "abxxxcd"
    assert spell_out(["é", {"fill": "é", "to_bytes": 7}], {}) == "éééé"[:3]
    assert spell_out([{"repeat": "[", "times": 3}, "${n}"], {"n": 2}) == "[[[2"
