# SPDX-License-Identifier: MIT
"""Questions that Sigma asks of a text beyond those of Sysmon's conditions.

A value "-" is a field that is missing: of the operations MISSING alone is true of it.
`pack` says what an operand is. Attackers choose the texts: no question takes longer
than a small multiple of the length of a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final

from sysmonlx.bounded import Bounded
from sysmonlx.rules.conditions import Atom, Operation, fold
from sysmonlx.rules.sigma.regular import searcher

#: The value of a field that is missing.
MISSING_VALUE: Final = "-"

#: Answers a question about a text.
Answer = Callable[[str], bool]

#: Operations on the text as it is; all others ask the folded one.
UNFOLDED = frozenset(
    {
        Operation.REGEX,
        Operation.CASED_IS,
        Operation.CASED_CONTAINS,
        Operation.CASED_BEGIN,
        Operation.CASED_END,
    }
)
#: Operations for which Python has a word, with the same one on the folded text.
FOLDED_FORM = {
    Operation.CASED_IS: Operation.IS,
    Operation.CASED_CONTAINS: Operation.CONTAINS,
    Operation.CASED_BEGIN: Operation.BEGIN,
    Operation.CASED_END: Operation.END,
}

#: Most addresses for which one network keeps the answer.
_ADDRESSES = 512

_NUMBER = re.compile(r"(-?[0-9]{1,20}(?:\.[0-9]{1,20})?)|0[xX]([0-9a-fA-F]{1,16})")


def number_of(text: str) -> float | int | None:
    """Return a text as a number; `0x..` is hexadecimal. None: it is no number."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    if found[2]:
        return int(found[2], 16)
    return float(found[1]) if "." in found[1] else int(found[1])


def answer_of(atom: Atom) -> Answer:
    """Return what answers an atom of REGEX, CIDR, GLOB or a number.

    Raises:
        ValueError: the operand is none, and why.
    """
    return _MAKERS[atom.operation](atom)


def _regex(atom: Atom) -> Answer:
    search = searcher(atom.operand)
    return lambda text: text != MISSING_VALUE and search(text)


class _InNetwork(Bounded[str, bool]):
    """Whether an address, as printed, lies in a network; false for other texts."""

    __slots__ = ("_first", "_last", "_version")

    def __init__(self, operand: str) -> None:
        super().__init__(_ADDRESSES)
        network = ip_network(operand, strict=False)
        self._version = network.version
        self._first = int(network.network_address)
        self._last = int(network.broadcast_address)

    def __missing__(self, text: str) -> bool:
        try:
            address = ip_address(text)
            answer = address.version == self._version
            answer = answer and self._first <= int(address) <= self._last
        except ValueError:
            answer = False
        self[text] = answer
        return answer


def _cidr(atom: Atom) -> Answer:
    return _InNetwork(atom.operand).__getitem__


@lru_cache(maxsize=4096)
def glob_pieces(operand: str) -> tuple[tuple[str | None, ...], ...]:
    """Return the pieces between the `*` of a pattern: characters, None for any one."""
    pieces: list[list[str | None]] = [[]]
    at = 0
    while at < len(operand):
        char = operand[at]
        if char == "\\" and operand[at + 1 : at + 2] in ("*", "?", "\\"):
            at += 1
            pieces[-1].append(operand[at])
        elif char == "*":
            pieces.append([])
        else:
            pieces[-1].append(None if char == "?" else char)
        at += 1
    return tuple(map(tuple, pieces))


def glob_literals(operand: str) -> list[str]:
    """Return the texts that any text contains which the pattern fits."""
    found = []
    for piece in glob_pieces(operand):
        run = ""
        for char in (*piece, None):
            if char is None:
                found += [run] if run else []
                run = ""
            else:
                run += char
    return found


def _glob(atom: Atom) -> Answer:
    first, *rest = glob_pieces(fold(atom.operand))
    if not rest:
        whole = _piece(first)
        return lambda text: text != MISSING_VALUE and _fits(whole.fullmatch(text))
    *middle, last = (_piece(piece) for piece in rest)
    begin, last_size = _piece(first), len(rest[-1])

    def fits(text: str) -> bool:
        found = begin.match(text)
        if text == MISSING_VALUE or found is None:
            return False
        at = found.end()
        for piece in middle:  # the leftmost place of each leaves the most room
            found = piece.search(text, at)
            if found is None:
                return False
            at = found.end()
        end_at = len(text) - last_size
        return end_at >= at and last.match(text, end_at) is not None

    return fits


def _fits(found: re.Match[str] | None) -> bool:
    return found is not None


def _piece(piece: tuple[str | None, ...]) -> re.Pattern[str]:
    """Return a piece of fixed length as an expression."""
    text = "".join("." if char is None else re.escape(char) for char in piece)
    return re.compile(text, re.DOTALL)


_COMPARISONS: dict[Operation, Callable[[float, float], bool]] = {
    Operation.NUMBER_LT: lambda number, bound: number < bound,
    Operation.NUMBER_LTE: lambda number, bound: number <= bound,
    Operation.NUMBER_GT: lambda number, bound: number > bound,
    Operation.NUMBER_GTE: lambda number, bound: number >= bound,
}


def _number(atom: Atom) -> Answer:
    bound, compare = number_of(atom.operand), _COMPARISONS[atom.operation]
    if bound is None:
        raise ValueError(f"{atom.operand!r:.80} is no number")

    def answer(text: str) -> bool:
        number = number_of(text)
        return number is not None and compare(number, bound)

    return answer


_MAKERS: dict[Operation, Callable[[Atom], Answer]] = {
    Operation.REGEX: _regex,
    Operation.CIDR: _cidr,
    Operation.GLOB: _glob,
    **dict.fromkeys(_COMPARISONS, _number),
}
