# SPDX-License-Identifier: MIT
"""Stored policies that are damaged, hostile, or of another version."""

from __future__ import annotations

import copy
import dataclasses
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmonlx.config.stored_policy import CHECKS, policy_of
from sysmonlx.enrich.registry import hooks_for
from sysmonlx.policy import (
    Compound,
    Element,
    Filter,
    Policy,
    Ruleset,
    Settings,
    SinkChoice,
)
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.schema.options import SETTINGS

RULES = (
    Element(
        "ProcessCreate",
        (1,),
        "include",
        "or",
        (
            Filter("Image", "contains any", "a;b;", "one", 3),
            Compound(
                (Filter("User", "is", "root"), Filter("CommandLine", "image", "sh")),
                "and",
                1,
                "two",
                5,
            ),
        ),
        2,
        1,
    ),
    Element("FileCreate", (11,), "exclude", "and", (), 9, 11),
)
GOOD = Policy(
    Ruleset("4.90", RULES),
    Settings(sinks=(SinkChoice("file", "json", "/run/x"), SinkChoice("syslog"))),
    "a.xml",
    (("SHA256", "00"), ("MD5", "11")),
)
PLAIN: dict[str, Any] = json.loads(GOOD.to_json())

#: What may stand in place of any value.
GARBAGE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, -5, 1 << 31, 1 << 63, 10**30, 0.5, float("nan")),
    *("", "x", "1", "/", "a/b", "\ud800", "\udcff", "\0", "a" * 5000, [], {}, [[]]),
    *([1], ["x"], [["x"]], {"x": 1}, [[[[[[]]]]]], ["syslog", "xml", ""], 1e308),
)


def can_run(policy: Policy) -> None:
    """Do with a policy what a start does, as far as that needs no kernel."""
    rules = compile_rules(policy.ruleset)
    hooks_for(rules.can_emit, policy.settings)
    for number, event in EVENT_BY_ID.items():
        if event.tag:
            rules.match(number, ["-"] * len(event.fields))
            rules.reads(number)
    assert policy_of(policy.to_json()) == policy
    policy.digest_text()
    for setting in SETTINGS:
        value = getattr(policy.settings, setting.attribute)
        if setting.kind in ("size", "number"):
            assert type(value) is int
            is_default = value == getattr(Settings(), setting.attribute)
            assert is_default or setting.low <= value <= setting.high
        else:
            kinds = {"boolean": bool, "names": tuple}
            assert type(value) is kinds.get(setting.kind, str)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value within a value."""
    yield path
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield from places(inner, (*path, key))


def with_value(path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> str:
    """Return the good policy's JSON, changed at one place."""
    changed = copy.deepcopy(PLAIN)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return json.dumps(changed)


PLACES = [path for path in places(PLAIN) if path]


def set_to(value: Any) -> Callable[[Any, Any], None]:
    return lambda inner, key: inner.__setitem__(key, value)


def runs_or_is_refused(text: str) -> bool:
    """Tell whether a text is a policy; one that is can be run."""
    try:
        policy = policy_of(text)
    except ValueError:
        return False
    can_run(policy)
    return True


def test_good_policy_is_read_and_runs() -> None:
    assert policy_of(GOOD.to_json()) == GOOD
    can_run(GOOD)


def test_garbage_in_any_place_is_refused_or_runs() -> None:
    outcomes = {
        runs_or_is_refused(with_value(path, set_to(value)))
        for path in PLACES
        for value in GARBAGE
    }
    assert outcomes == {False, True}


def test_what_is_missing_is_refused_or_has_its_default() -> None:
    for path in PLACES:
        taken = runs_or_is_refused(with_value(path, lambda inner, key: inner.pop(key)))
        assert taken or path[0] != "settings" or len(path) != 2, path


@given(st.integers(0, 1 << 31))
def test_damaged_bytes_are_refused_or_run(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(GOOD.to_json().encode())
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        kind = chance.randrange(4)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at : at + chance.randrange(30)]
        elif kind == 2:
            data[at:at] = chance.choice((b"[", b"{", b"-", b"9" * 30, b'"', b"\\u"))
        else:
            del data[at:]
        data = data or bytearray(b" ")
    runs_or_is_refused(data.decode("utf-8", "replace"))


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 100_000, "9" * 100_000])
def test_deep_or_huge_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        policy_of(text)


# --- settings


def with_setting(name: str, value: Any) -> str:
    return with_value(("settings", name), set_to(value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ring_size_bytes", -5),
        ("ring_size_bytes", 1 << 40),
        ("ring_size_bytes", (1 << 20) + 1),
        ("ring_size_bytes", True),
        ("line_limit_bytes", 1),
        ("hash_wait_ms", 1.5),
        ("budget", 101),
        ("metrics_file", "relative"),
        ("metrics_file", "/a\0b"),
        ("failed_connects", 1),
        ("dns_lookup", "true"),
        ("hash_algorithms", ["SHA512"]),
        ("hash_algorithms", ["MD5", "MD5"]),
        ("hash_algorithms", "MD5"),
        ("sinks", [["carrier pigeon", "xml", ""]]),
        ("sinks", [["syslog", "yaml", ""]]),
        ("sinks", [["file", "xml", ""]]),
        ("sinks", [["stdout", "xml", "/x"]]),
        ("sinks", [["syslog", "xml"]]),
        ("field_sizes", [["Image", 0]]),
        ("field_sizes", [["Image", -1]]),
    ],
)
def test_setting_that_no_configuration_could_give_is_refused(
    name: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=r"."):
        policy_of(with_setting(name, value))


def test_each_setting_has_a_check() -> None:
    assert CHECKS.keys() == {each.name for each in dataclasses.fields(Settings)}


def test_limits_of_each_setting_are_those_of_the_configuration() -> None:
    for setting in SETTINGS:
        if setting.kind not in ("size", "number"):
            continue
        for value in (setting.low, setting.high):
            policy = policy_of(with_setting(setting.attribute, value))
            assert getattr(policy.settings, setting.attribute) == value
        for value in (setting.low - 1, setting.high + 1):
            assert not runs_or_is_refused(with_setting(setting.attribute, value))


def test_setting_of_another_version_is_left_out() -> None:
    assert policy_of(with_setting("telepathy", [1, {}])) == GOOD


def test_setting_that_is_missing_has_its_default() -> None:
    plain = copy.deepcopy(PLAIN)
    plain["settings"] = {}
    assert policy_of(json.dumps(plain)).settings == Settings()


# --- rules

FIRST = ("ruleset", "elements", 0)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*FIRST, "tag"), "Nonsense"),
        ((*FIRST, "tag"), "FileCreate"),
        ((*FIRST, "event_ids"), [4711]),
        ((*FIRST, "event_ids"), []),
        ((*FIRST, "event_ids"), [4]),
        ((*FIRST, "bound_id"), 11),
        ((*FIRST, "onmatch"), "maybe"),
        ((*FIRST, "relation"), "xor"),
        ((*FIRST, "items"), {"field": 1}),
        ((*FIRST, "items", 0, "field"), "TargetFilename"),
        ((*FIRST, "items", 0, "condition"), "smells like"),
        ((*FIRST, "items", 0, "value"), 7),
        ((*FIRST, "items", 0, "value"), "\ud800"),
        ((*FIRST, "items", 0, "negated"), True),
        ((*FIRST, "items", 1, "filters"), [[]]),
        ((*FIRST, "items", 1, "unless"), ""),
        ((*FIRST, "sampled"), 2),
    ],
)
def test_rule_that_is_not_understood_refuses_all(
    path: tuple[Any, ...], value: Any
) -> None:
    with pytest.raises(ValueError, match=r"."):
        policy_of(with_value(path, set_to(value)))
