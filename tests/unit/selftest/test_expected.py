# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from sysmonlx.selftest.expected import Expected, Some, is_right, wrong_fields


@pytest.mark.parametrize(
    ("text", "expected", "right"),
    [
        ("root", "root", True),
        ("root", "-", False),
        ("-", Some(any=["true", "-"]), True),
        ("false", Some(any=["true", "-"]), False),
        ("b", Some(low="a", high="c"), True),
        ("d", Some(low="a", high="c"), False),
        ("-", Some(any=["-"], low="a", high="c"), True),
        ("42", Some(form="[0-9]+"), True),
        ("42 ", Some(form="[0-9]+"), False),
        ("", Some(), False),
    ],
)
def test_text_is_right_or_not(text: str, expected: Expected, right: bool) -> None:
    assert is_right(text, expected) is right


def test_each_field_that_is_not_right_is_named() -> None:
    event = {"User": "-", "Image": "/bin/sh", "Type": "x"}
    expected: dict[str, Expected] = {
        "User": "root",
        "Image": "/bin/sh",
        "Type": Some(any=["a", "b"], form="[0-9]"),
        "ProcessId": Some(low="1", high="9"),
    }
    assert wrong_fields(event, expected) == [
        'User is "-", not "root"',
        'Type is "x", not "a" or "b" or a text like [0-9]',
        "ProcessId is missing",
    ]
