# SPDX-License-Identifier: MIT
"""Expressions that Python's own module runs find what RE2 finds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random

import pytest

from sysmonlx.rules.sigma import regular

re2 = pytest.importorskip("re2")

_SINGLE = (*"ab1_ /.^$|-", r"\.", r"\$", r"\*", r"\[", r"\-", '"', "K", "s")
_CLASS = (*"ab1_./*?()$-+", "a-z", "A-Z", "0-9", " ")
_REPEATS = ("", "", "*", "+", "?", "??", "{2}", "{0,3}", "{1,}", "{1,2}?")
_TEXTS = (*'ab1_ /.$|-*["Ks\n\té\u212a\u017f', "\udcff", "\U0001f600", "python3")


def _expression(random: Random, depth: int = 0) -> str:
    made = ""
    for _ in range(random.randint(1, 4)):
        kind = random.random()
        if kind < 0.2 and depth < 2:
            begin = random.choice(("(", "(?:"))
            part = f"{begin}{_expression(random, depth + 1)})"
        elif kind < 0.4:
            items = "".join(random.choices(_CLASS, k=random.randint(1, 4)))
            part = f"[{random.choice(('', '^'))}{items}]"
        else:
            part = random.choice(_SINGLE)
        made += part + random.choice(_REPEATS)
    return made


def _by_re2(pattern: str) -> Callable[[str], bool] | None:
    options = re2.Options()
    options.log_errors = False
    try:
        search = re2.compile(pattern, options).search
    except re2.error:
        return None
    return lambda text: search(regular._whole_characters(text)) is not None


def test_both_find_the_same() -> None:
    random, asked = Random(7), 0
    for _ in range(6000):
        pattern = _expression(random)
        if not regular._ALIKE.fullmatch(pattern):
            continue
        try:
            found = regular._by_python(pattern)
        except ValueError:
            continue
        expected = _by_re2(pattern)
        assert expected is not None, pattern
        for _ in range(12):
            text = "".join(random.choices(_TEXTS, k=random.randint(0, 8)))
            assert found(text) == expected(text), (pattern, text)
        asked += 1
    assert asked > 1500


@pytest.mark.parametrize(
    "pattern",
    [
        r"\s-O\s",  # RE2's \s is no vertical tab
        "(?i)kernel",  # there a Kelvin sign is a k
        r"\bsh\b",
        "a{,3}",  # no repeat there
        "a++",
        "[[:alpha:]]",
        "[a&&b]",
        r"\Qa.b\E",
        r"\x41",
        "(?P<name>a)",
        "(?=a)",
        "x*+",
        "é",
        "[é]",
        "[a\\]b]",
    ],
)
def test_what_may_be_read_in_two_ways_is_for_re2(pattern: str) -> None:
    assert not regular._ALIKE.fullmatch(pattern)


def test_usual_expression_needs_no_re2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    found = regular.searcher(r"^[a-z/]{0,9}python[0-9.]{0,4} /(tmp|dev/shm)/")
    assert found("/bin/python3 /tmp/x")
    assert not found("cat /tmp/python3 /tmp/x")
    assert regular._ALIKE.fullmatch(r"^[a-z/]{0,9}python[0-9.]{0,4} /(tmp|dev/shm)/")
