# SPDX-License-Identifier: MIT
"""Many questions about one text, at a cost that hardly depends on their number.

Python needs some 80 ns for `needle in text`, which is too much for hundreds of rules. A
needle of 7 bytes or more covers, wherever it occurs, four bytes at an offset that is a
multiple of four. Therefore the four-byte words at these offsets of the text, looked up
as numbers, tell which needles can occur at all. Only these are then searched for. For
needles of 5 or 6 bytes the words at every second offset are needed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TypeAlias

from sysmonlx.bounded import Bounded
from sysmonlx.rules.conditions import Atom, Operation, ask, fold
from sysmonlx.rules.plain_form import PlainAtom, atom_of, plain_atom

#: Atoms and the numbers of their bits.
PlainBits: TypeAlias = tuple[tuple[PlainAtom, int], ...]
#: What `_long_form` returns.
_LongForm: TypeAlias = tuple[bytes, bytes, bytes, str, bytes, bytes]
#: What `form_of` returns: the bits of whole texts; how texts begin, how they end, and
#: the bits of both; the bits of comparisons, of short needles; the distance in bytes of
#: the words looked at; the long needles.
SieveForm: TypeAlias = tuple[
    dict[str, int],
    tuple[str, ...],
    tuple[str, ...],
    PlainBits,
    PlainBits,
    tuple[tuple[str, int], ...],
    int,
    _LongForm,
]

_WORD = 4

#: Costs in microseconds, measured on texts of 220 bytes: of one needle that is searched
#: for, and of one pass over the text, by the distance in bytes of the words.
_ASK_US = 0.08
_PASS_US = {4: 1.8, 2: 3.5}

#: How many texts a remembered sieve keeps, and how long they may be, in characters.
TEXTS_LIMIT = 2048
LENGTH_LIMIT = 400

#: How many words with the needles that they lead to a sieve keeps.
_WORDS_LIMIT = 512

#: From how many questions on a sieve is cheaper than asking them one by one.
_PAYS_FROM = 32


def pays(atoms: Iterable[Atom]) -> bool:
    """Return whether a sieve for these questions is cheaper than asking each."""
    return len(set(atoms)) >= _PAYS_FROM


def form_of(bits: Mapping[Atom, int]) -> SieveForm:
    """Return a sieve as plain data; `bits` has the number of the bit of each atom."""
    needles = _of(bits, Operation.CONTAINS)
    stride = min(_PASS_US, key=lambda stride: _cost_us(needles, stride))
    window = _WORD + stride - 1
    return (
        _of(bits, Operation.IS),
        tuple(_of(bits, Operation.BEGIN)),
        tuple(_of(bits, Operation.END)),
        _chosen_by(bits, Operation.BEGIN, Operation.END),
        _chosen_by(bits, Operation.LESS, Operation.MORE),
        tuple((n, bit) for n, bit in needles.items() if _size(n) < window),
        stride,
        _long_form(needles, stride),
    )


def _long_form(needles: Mapping[str, int], stride: int) -> _LongForm:
    """Return the needles that each word leads to, as a few large pieces.

    Thousands of small objects would fragment more memory than they take.

    Returns:
        The words, sorted. For each of them where its needles begin in the next, and the
        end of that. The numbers of needles. All needles as one text. Where each of them
        begins, and the end of that. The bit of each.
    """
    by_word: dict[int, list[int]] = {}
    long: list[str] = []
    for needle, words in _words_of(needles, stride):
        for word in words:
            by_word.setdefault(word, []).append(len(long))
        long.append(needle)
    order = sorted(by_word)
    return (
        array("I", order).tobytes(),
        _steps(len(by_word[word]) for word in order),
        array("I", [number for word in order for number in by_word[word]]).tobytes(),
        "".join(long),
        _steps(map(len, long)),
        array("I", [needles[needle] for needle in long]).tobytes(),
    )


def _steps(sizes: Iterable[int]) -> bytes:
    return array("I", accumulate(sizes, initial=0)).tobytes()


class Sieve:
    """Answers atoms: calling it with a folded text returns the true ones' bits."""

    def __init__(self, form: SieveForm) -> None:
        """Take what `form_of` made plain."""
        self._whole, self._beginnings, self._endings = form[:3]
        edges, others, self._short, self._stride, long = form[3:]
        self._edges = [(atom_of(atom), bit) for atom, bit in edges]
        self._others = [(atom_of(atom), bit) for atom, bit in others]
        self._led_to = _LedTo(long)
        self._words = frozenset(self._led_to.words)

    def __call__(self, text: str) -> int:
        """Return the bits of all atoms that are true of a folded text."""
        found = 1 << self._whole[text] if text in self._whole else 0
        if text.startswith(self._beginnings) or text.endswith(self._endings):
            found |= _ask_each(self._edges, text)
        for needle, bit in self._short:
            if needle in text:
                found |= 1 << bit
        if self._others:
            found |= _ask_each(self._others, text)
        return found | self._long(text) if self._words else found

    def _long(self, text: str) -> int:
        found = 0
        raw = text.encode("utf-8", "surrogatepass")
        for offset in range(0, _WORD, self._stride):
            for word in self._words.intersection(_words(raw, offset)):
                for needle, bit in self._led_to[word]:
                    if needle in text:
                        found |= bit
        return found


class _LedTo(Bounded[int, tuple[tuple[str, int], ...]]):
    """The needles that a four-byte word of a text leads to, each with its bits.

    They are found when the word first occurs, and kept. The words that occur in a
    machine's texts are few; the words of all rules are many.
    """

    __slots__ = ("_begins", "_bits", "_first", "_needles", "_numbers", "words")

    def __init__(self, form: _LongForm) -> None:
        super().__init__(_WORDS_LIMIT)
        words, first, numbers, self._needles, begins, bits = form
        self.words = array("I", words)
        self._first = array("I", first)
        self._numbers = array("I", numbers)
        self._begins = array("I", begins)
        self._bits = array("I", bits)

    def __missing__(self, word: int) -> tuple[tuple[str, int], ...]:
        at = bisect_left(self.words, word)
        numbers = self._numbers[self._first[at] : self._first[at + 1]]
        self[word] = found = tuple(
            (
                self._needles[self._begins[number] : self._begins[number + 1]],
                1 << self._bits[number],
            )
            for number in numbers
        )
        return found


def _ask_each(bits: Iterable[tuple[Atom, int]], text: str) -> int:
    return sum(1 << bit for atom, bit in bits if ask(atom, text))


def _chosen_by(bits: Mapping[Atom, int], *operations: Operation) -> PlainBits:
    chosen = (each for each in bits.items() if each[0].operation in operations)
    return tuple((plain_atom(atom), bit) for atom, bit in chosen)


def _of(bits: Mapping[Atom, int], operation: Operation) -> dict[str, int]:
    return {a.operand: bit for a, bit in bits.items() if a.operation is operation}


def _cost_us(needles: Iterable[str], stride: int) -> float:
    short = sum(_size(needle) < _WORD + stride - 1 for needle in needles)
    return _PASS_US[stride] + _ASK_US * short


def _size(needle: str) -> int:
    return len(needle.encode("utf-8", "surrogatepass"))


def _words(raw: bytes, offset: int) -> array[int]:
    """Return every fourth word from an offset, as far as the bytes go."""
    end = offset + (len(raw) - offset) // _WORD * _WORD
    return array("I", raw[offset:end])


def _words_of(needles: Iterable[str], stride: int) -> Iterator[tuple[str, set[int]]]:
    """Yield each long needle with some of its words.

    Wherever the needle occurs, one of these words stands at an offset that is looked
    at. Any window of the needle has such words; the window is taken that fewest other
    needles share.
    """
    windows = {needle: list(_windows(needle, stride)) for needle in needles}
    shared = Counter(word for sets in windows.values() for word in set().union(*sets))
    for needle, sets in windows.items():
        if sets:
            yield needle, min(sets, key=lambda words: sum(shared[w] for w in words))


def _windows(needle: str, stride: int) -> Iterator[set[int]]:
    raw = needle.encode("utf-8", "surrogatepass")
    words = [
        array("I", raw[start : start + _WORD])[0]
        for start in range(len(raw) - _WORD + 1)
    ]
    for start in range(len(words) - stride + 1):
        yield set(words[start : start + stride])


class RememberedSieve(Bounded[str, int]):
    """A sieve's answers for texts as printed, looked up like in a dictionary.

    Hostile programs choose the texts: long ones are not kept, others up to a limit.
    """

    __slots__ = ("_sieve",)

    def __init__(self, form: SieveForm) -> None:
        super().__init__(TEXTS_LIMIT)
        self._sieve = Sieve(form)

    def __missing__(self, text: str) -> int:
        answers = self._sieve(fold(text))
        if len(text) <= LENGTH_LIMIT:
            self[text] = answers
        return answers
