# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from sysmonlx.config.stored_policy import policy_of
from sysmonlx.policy import (
    Compound,
    Element,
    Filter,
    Policy,
    Ruleset,
    Settings,
    SinkChoice,
)

POLICY = Policy(
    Ruleset(
        "4.22",
        (
            Element(
                "FileCreate",
                (11,),
                "include",
                "or",
                (
                    Filter("Image", "is", 'q"<é\udcff\n', "name", 3),
                    Compound((Filter("User", "is", "root"),), "and", 7, "rule", 4),
                ),
                2,
                11,
            ),
        ),
    ),
    Settings(field_sizes=(("Image", 4),), sinks=(SinkChoice("file", "json", "/x"),)),
    "a.xml",
    (("SHA256", "00"),),
)


@pytest.mark.parametrize("policy", [Policy(), POLICY])
def test_json_reads_back_unchanged(policy: Policy) -> None:
    assert policy_of(policy.to_json()) == policy


def test_json_is_ascii_whatever_the_rules_hold() -> None:
    assert POLICY.to_json().isascii()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"ruleset":{}}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        policy_of(text)
