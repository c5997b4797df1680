# SPDX-License-Identifier: MIT
"""Outlines as data: what is written is read back, and nothing else is taken."""

from __future__ import annotations

import json

import pytest

from sysmonlx.config.sigma.outline import Group, Leaf, Not, Outline, outline_of, plain
from sysmonlx.rules.conditions import Atom, Operation
from sysmonlx.rules.conditions import Test as FieldTest

TEST = FieldTest(
    "Image", (Atom(Operation.END, "/sh"), Atom(Operation.IS, "x")), True, True
)
OUTLINE: Outline = Group(
    True, (Leaf(TEST, 7), Not(Group(False, (Leaf(TEST),)))), "s", 6
)
PLAIN_TEST = ["test", "Image", False, False, [["is", "x"]]]


def test_outline_is_read_back_as_it_was_written() -> None:
    assert outline_of(json.loads(json.dumps(plain(OUTLINE)))) == OUTLINE


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        [],
        ["leaf"],
        ["leaf", "1", PLAIN_TEST],
        ["leaf", True, PLAIN_TEST],
        ["leaf", 1, None],
        ["leaf", 1, [*PLAIN_TEST[:4], [["no operation", "x"]]]],
        ["leaf", 1, [*PLAIN_TEST[:4], [["is", 1]]]],
        ["leaf", 1, ["test", 1, False, False, []]],
        ["leaf", 1, ["test", "Image", 0, False, []]],
        ["not"],
        ["not", 1],
        ["none", "", 0],
        ["all", 1, 0],
        ["any", "s", 0, "leaf"],
    ],
    ids=str,
)
def test_nothing_else_is_an_outline(raw: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each says it in other words
        outline_of(raw)
