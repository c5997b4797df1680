# SPDX-License-Identifier: MIT
"""One automaton for all strings that the rules seek: bytes in, bits of what was found.

The algorithm is Aho and Corasick's, with every transition spelt out: the kernel takes
one step a byte. Each field has a trie of its own, all in one table. A pattern may be
anchored at the start (it hangs below the state to begin with) and at the end (a NUL
ends each text). Letters of either case are one class of bytes.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

#: No transition leaves this state, and no text begins in it.
DEAD = 0

#: The first two classes of bytes: all bytes but NUL, and NUL, the end of a text.
OTHER = 0
END = 1

#: This bit of a transition says that something is found in the state it leads to.
FOUND = 0x8000


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest numbers that the kernel's table holds."""

    classes: int
    states: int
    outputs: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """A string to look for, as folded bytes.

    `then`, if not empty, are bytes of which one has to follow the string.
    """

    text: bytes
    at_start: bool
    at_end: bool
    then: frozenset[int] = frozenset()

    def begins(self) -> Iterator[bytes]:
        """Yield each beginning of the string, up to the whole of it."""
        whole = self.text + b"\0" if self.at_end else self.text
        return (whole[:size] for size in range(1, len(whole) + 1))


@dataclass(frozen=True, slots=True)
class Table:
    """The automata of all fields: `transitions` has a row of classes for each state.

    `output_of` a state is an index into `outputs`, numbers with a bit for each thing
    that was found; 0 is nothing.
    """

    byte_classes: bytes
    transitions: array[int]
    output_of: array[int]
    outputs: tuple[int, ...]


@dataclass(slots=True)
class _Node:
    number: int
    children: dict[int, _Node] = field(default_factory=dict)
    bits: int = 0


class _Classes:
    """Classes of folded bytes: no pattern tells two bytes of one class apart.

    `of` has the number of the class of each byte, `count` is the number of classes.
    `alone` are the bytes that are a class of their own.
    """

    def __init__(self) -> None:
        self.of = [END, *[OTHER] * 255]
        self.count = 2
        self.alone: set[int] = set()

    def refined(self, patterns: Iterable[Pattern]) -> _Classes:
        """Return classes that also tell apart what these patterns do."""
        classes = _Classes()
        classes.of, classes.count = self.of.copy(), self.count
        classes.alone = self.alone.copy()
        for byte in {byte for pattern in patterns for byte in pattern.text}:
            if byte not in classes.alone:
                classes._split({byte})
                classes.alone.add(byte)
        for wanted in {pattern.then for pattern in patterns}:
            classes._split(wanted)
        return classes

    def _split(self, wanted: Iterable[int]) -> None:
        inside: dict[int, int] = {}
        sizes = Counter(self.of)
        here = Counter(self.of[byte] for byte in wanted)
        for byte in wanted:
            old = self.of[byte]
            if here[old] == sizes[old]:
                continue  # the whole of a class
            if old not in inside:
                inside[old] = self.count
                self.count += 1
            self.of[byte] = inside[old]


class Automata:
    """Collects patterns field by field, as long as they fit; then builds the table."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._classes = _Classes()
        self._patterns: list[tuple[int, Pattern, int]] = []
        #: The beginnings of all patterns; each of them needs a state.
        self._begins: set[tuple[int, bool, bytes]] = set()
        self._reserved = 1  # DEAD
        self._nodes = 1
        self._fields: list[tuple[_Node, _Node]] = []

    def add_field(self) -> int:
        """Begin the automaton of another field and return its number."""
        self._reserved += 2
        self._fields.append((self._node(), self._node()))
        return len(self._fields) - 1

    def start(self, number: int) -> int:
        """Return the state to begin a text with."""
        return self._fields[number][1].number

    def inside(self, number: int) -> int:
        """Return the state to begin with in the middle of a text."""
        return self._fields[number][0].number

    def add(self, number: int, patterns: list[Pattern], bit: int) -> bool:
        """Have patterns of one field give `bit`; False if there is no room for all."""
        classes = self._classes.refined(patterns)
        begins = {(number, p.at_start, each) for p in patterns for each in p.begins()}
        begins -= self._begins
        sets = sum(bool(p.then) for p in patterns) * self._limits.classes
        needed = self._reserved + len(begins) + sets
        if classes.count > self._limits.classes or needed > self._limits.states:
            return False
        self._classes = classes
        self._begins |= begins
        self._reserved = needed
        self._patterns += [(number, pattern, bit) for pattern in patterns]
        return True

    def build(self) -> Table | None:
        """Return the table, None if too many combinations can be found at once."""
        for number, pattern, bit in self._patterns:
            self._insert(self._fields[number][pattern.at_start], pattern, bit)
        width = self._limits.classes
        transitions = array("H", bytes(2 * width)) * self._nodes
        bits = [0] * self._nodes
        for inside, start in self._fields:
            self._fill(inside, start, transitions, bits)
        outputs = {0: 0}
        for found in bits:
            outputs.setdefault(found, len(outputs))
        if len(outputs) > self._limits.outputs:
            return None
        flagged = array("H", [n | FOUND if b else n for n, b in enumerate(bits)])
        transitions = array("H", [flagged[state] for state in transitions])
        output_of = array("H", [outputs[found] for found in bits])
        return Table(self._byte_classes(), transitions, output_of, tuple(outputs))

    def _node(self) -> _Node:
        self._nodes += 1
        return _Node(self._nodes - 1)

    def _insert(self, node: _Node, pattern: Pattern, bit: int) -> None:
        for byte in pattern.text + (b"\0" if pattern.at_end else b""):
            node = self._child(node, self._classes.of[byte])
        if not pattern.then:
            node.bits |= bit
        for class_ in {self._classes.of[byte] for byte in pattern.then}:
            self._child(node, class_).bits |= bit

    def _child(self, node: _Node, class_: int) -> _Node:
        if class_ not in node.children:
            node.children[class_] = self._node()
        return node.children[class_]

    def _byte_classes(self) -> bytes:
        classes = self._classes.of.copy()
        for lower in range(ord("a"), ord("z") + 1):
            classes[lower - 32] = classes[lower]
        return bytes(classes)

    def _fill(
        self, inside: _Node, start: _Node, transitions: array[int], bits: list[int]
    ) -> None:
        """Fill one field's rows, breadth first: a row begins as that of its fallback.

        The fallback of a state is the state of another pattern's beginning: of the
        longest one that ends the bytes read so far. Nothing is found behind the end of
        the text.
        """
        width = self._limits.classes
        queue = deque([(inside, DEAD, False), (start, inside.number, False)])
        while queue:
            node, fallback, is_after_end = queue.popleft()
            bits[node.number] = node.bits | bits[fallback]
            if is_after_end:
                continue
            first = node.number * width
            base = fallback * width
            row = transitions[base : base + width]
            if node is inside:
                row = array("H", [inside.number]) * width
                row[END] = DEAD
            for class_, child in node.children.items():
                queue.append((child, row[class_], class_ == END))
                row[class_] = child.number
            transitions[first : first + width] = row
