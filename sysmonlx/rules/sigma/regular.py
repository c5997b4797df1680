# SPDX-License-Identifier: MIT
"""Regular expressions over texts that attackers choose: in linear time, or not at all.

Sigma's expressions are those of RE2. Python's own module runs those that mean the same
there and are cheap by their form: RE2 takes 2.4 MB. Where google-re2 can be imported it
runs all others. Else Python's does, which may take exponential time: then only
expressions that are cheap by their form are taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from re import _constants as codes  # type: ignore[attr-defined]  # no public parser
from re import _parser as parser  # type: ignore[attr-defined]  # the same
from typing import Any
from warnings import catch_warnings, simplefilter

from sysmonlx.rules.conditions import fold

#: The most repeats of one part, and of all variable parts together, that are cheap.
_REPEATS = 256
#: The longest text, in characters, that a cheap expression asks for.
_WIDTH = 4096

#: Expressions that RE2 and Python read alike: characters of ASCII, some behind a
#: backslash; classes of characters and ranges; anchors, groups, repeats.
_ALIKE = re.compile(
    r"""(?: [\w /,:;=@%&~#"'<>!`-] | \\[./*+?|()\[\]{}^$-]
    | \[\^?(?: (?:a-z|A-Z|0-9) | [\w ./,:;=@%\#"'<>!*+?()$](?!-[^\]]) )+-?\]
    | [.^$|] | \((?:\?:)? | \)
    | (?<![*+?}(|])(?:[*+?]|\{[0-9]{1,3}(?:,[0-9]{0,3})?\})\??(?![+*?{]) )*""",
    re.ASCII | re.VERBOSE,
)

_REPEAT_CODES = frozenset({codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT})
_REFUSED = {
    codes.ASSERT: "looks around",
    codes.ASSERT_NOT: "looks around",
    codes.GROUPREF: "refers back",
    codes.GROUPREF_EXISTS: "refers back",
    codes.ATOMIC_GROUP: "has an atomic group",
}


def searcher(pattern: str) -> Callable[[str], bool]:
    """Return what tells whether an expression is found anywhere in a text.

    Raises:
        ValueError: it is no such expression, or needs google-re2; the text says which.
    """
    if _ALIKE.fullmatch(pattern):
        with suppress(ValueError):  # RE2 says better what is wrong
            return _by_python(pattern)
    try:
        re2 = import_module("re2")
    except ImportError:
        return _by_python(pattern)
    options = re2.Options()
    options.log_errors = False
    try:
        search = re2.compile(pattern, options).search
    except re2.error as error:
        raise ValueError(f"{pattern!r:.80} is no regular expression: {error}") from None
    return lambda text: search(_whole_characters(text)) is not None


def literals(pattern: str) -> list[str]:
    """Return texts that each text holds in which an expression is found, folded.

    RE2 compares letters of all scripts where case does not count: the Kelvin sign is a
    k, and the long s is an s. These two letters are then no part of such a text.
    """
    try:
        with catch_warnings():
            simplefilter("ignore")
            tree = parser.parse(pattern, re.ASCII)
    except (re.error, RecursionError, OverflowError):
        return []
    is_any_case = bool(tree.state.flags & re.IGNORECASE)
    found = [""]
    for code, argument in tree:
        char = chr(argument) if code is codes.LITERAL else ""
        is_open = not char or (is_any_case and (not char.isascii() or char in "kKsS"))
        if is_open:
            found.append("")
        else:
            found[-1] += char
    return [fold(text) for text in found if text]


def _whole_characters(text: str) -> str:
    """Return the text with each byte that is no UTF-8 replaced."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode()


def _by_python(pattern: str) -> Callable[[str], bool]:
    try:
        tree = parser.parse(pattern, re.ASCII)
        search = re.compile(_to_python(pattern), re.ASCII).search
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{pattern!r:.80} is no regular expression: {error}") from None
    cost = _cost(tree, is_inside=False, is_last=True)
    least = tree.getwidth()[0]
    if cost is None or cost > _REPEATS or least > _WIDTH:
        raise ValueError(f"{pattern!r:.80} needs google-re2: pip install google-re2")
    return lambda text: search(_whole_characters(text)) is not None


def _to_python(pattern: str) -> str:
    r"""Return an expression with `\Z` for `$`, which in RE2 is the end of the text."""
    flags = re.match(r"\(\?([a-zA-Z]*)\)", pattern)
    if flags and "m" in flags[1]:
        return pattern
    made, is_class, at = "", False, 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            made += pattern[at : at + 2]
            at += 2
            continue
        if char == "[" and not is_class:
            is_class = True
            closes = re.match(r"\[\^?\]?", pattern[at:])
            assert closes is not None
            made += closes[0]
            at += len(closes[0])
            continue
        is_class = is_class and char != "]"
        made += r"\Z" if char == "$" and not is_class else char
        at += 1
    return made


def _cost(items: Any, *, is_inside: bool, is_last: bool) -> int | None:
    """Return how many ways there are to match at one place, None: too many.

    `items` are those of the parser, which has no types: pairs of code and argument.
    A repeat costs the number of lengths that it may have. A last, open one costs
    nothing: a search ends at its least length. Inside of a repeat nothing may vary.
    """
    cost, last = 1, len(items) - 1
    for at, (code, argument) in enumerate(items):
        ends = is_last and at == last
        more = _cost_of(code, argument, is_inside=is_inside, is_last=ends)
        if more is None:
            return None
        cost *= more
    return cost


def _cost_of(code: Any, argument: Any, *, is_inside: bool, is_last: bool) -> int | None:
    if code in _REFUSED:
        return None
    if code is codes.BRANCH:
        if is_inside:
            return None
        each = [_cost(b, is_inside=False, is_last=is_last) for b in argument[1]]
        return None if None in each else sum(filter(None, each))
    if code is codes.SUBPATTERN:
        return _cost(argument[3], is_inside=is_inside, is_last=is_last)
    if code not in _REPEAT_CODES:
        return 1
    least, most, body = argument
    if most == codes.MAXREPEAT and is_last:
        most = least
    if most > _REPEATS or (least != most and is_inside):
        return None
    inner = _cost(body, is_inside=True, is_last=False)
    return None if inner is None else inner * (int(most) - int(least) + 1)
