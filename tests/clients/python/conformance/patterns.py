"""Patterns and variables of the conformance cases (tests/conformance/README.md)."""

import re

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
VARIABLE = re.compile(r"\$\{([A-Za-z0-9_.]+)\}")
MISSING = object()

MATCHERS = {
    "$any": lambda value: value is not MISSING,
    "$none": lambda value: value is MISSING or value is None,
    "$string": lambda value: isinstance(value, str) and value != "",
    "$integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "$object": lambda value: isinstance(value, dict),
    "$uuid": lambda value: isinstance(value, str) and UUID.fullmatch(value) is not None,
    "$timestamp": lambda value: isinstance(value, str) and TIMESTAMP.fullmatch(value) is not None,
}


def mismatch(pattern, value, variables, path="$"):
    """Why `value` does not match `pattern`, or `None`. Captures go into `variables`."""
    if isinstance(pattern, str):
        return _mismatch_text(pattern, value, variables, path)
    if value is MISSING:
        return f"{path} is missing"
    if isinstance(pattern, dict):
        return _mismatch_object(pattern, value, variables, path)
    if isinstance(pattern, list):
        if not isinstance(value, list) or len(value) != len(pattern):
            return f"{path} is {value!r}, not an array of {len(pattern)}"
        return _first(mismatch(each, value[at], variables, f"{path}[{at}]") for at, each in enumerate(pattern))
    same = type(pattern) is type(value) or {type(pattern), type(value)} == {int, float}
    return None if same and pattern == value else f"{path} is {value!r}, not {pattern!r}"


def matches(pattern, value, variables):
    return mismatch(pattern, value, dict(variables)) is None


def fill_in(template, variables):
    """`template` with every `${name}` in its strings replaced."""
    if isinstance(template, str):
        whole = VARIABLE.fullmatch(template)
        if whole:
            return _variable(whole[1], variables)
        return VARIABLE.sub(lambda found: str(_variable(found[1], variables)), template)
    if isinstance(template, dict):
        return {key: fill_in(value, variables) for key, value in template.items()}
    if isinstance(template, list):
        return [fill_in(value, variables) for value in template]
    return template


def spell_out(parts, variables):
    """The text of `send_raw` and `send_fragments`: a string, or an array of strings, fills and repetitions."""
    if isinstance(parts, str):
        return str(fill_in(parts, variables))
    texts = [_spell_part(part, variables) for part in parts]
    fills = [at for at, part in enumerate(parts) if isinstance(part, dict) and "fill" in part]
    for at in fills:
        part = parts[at]
        room = part["to_bytes"] - sum(len(text.encode()) for text in texts[:at])
        texts[at] = part["fill"] * (room // len(part["fill"].encode()))
    return "".join(texts)


def _spell_part(part, variables):
    if isinstance(part, str):
        return str(fill_in(part, variables))
    return part["repeat"] * part["times"] if "repeat" in part else ""


def _mismatch_text(pattern, value, variables, path):
    if pattern.startswith("$capture:"):
        if value is MISSING:
            return f"{path} is missing"
        variables[pattern.removeprefix("$capture:")] = value
        return None
    if pattern in MATCHERS:
        return None if MATCHERS[pattern](value) else f"{path} is {_show(value)}, not {pattern}"
    wanted = fill_in(pattern, variables)
    return None if wanted == value else f"{path} is {_show(value)}, not {wanted!r}"


def _mismatch_object(pattern, value, variables, path):
    if set(pattern) <= {"$contains", "$lacks"} and pattern:
        if not isinstance(value, list):
            return f"{path} is {value!r}, not an array"
        for each in pattern.get("$contains", []):
            if not any(matches(each, element, variables) for element in value):
                return f"{path} has nothing that matches {each!r}: {value!r}"
        for each in pattern.get("$lacks", []):
            if any(matches(each, element, variables) for element in value):
                return f"{path} has something that matches {each!r}: {value!r}"
        return None
    if not isinstance(value, dict):
        return f"{path} is {value!r}, not an object"
    return _first(mismatch(each, value.get(key, MISSING), variables, f"{path}.{key}") for key, each in pattern.items())


def _variable(name, variables):
    if name not in variables:
        raise KeyError(f"the case uses ${{{name}}} before it is known")
    return variables[name]


def _first(reasons):
    return next((reason for reason in reasons if reason is not None), None)


def _show(value):
    return "absent" if value is MISSING else repr(value)
