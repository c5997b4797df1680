# SPDX-License-Identifier: MIT
from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from support import reference, strategies
from support.strategies import examples, randoms

from sysmonlx.policy import Compound, Element, Filter, Ruleset
from sysmonlx.rules.clauses import make_decision
from sysmonlx.rules.conditions import Atom, Operation, make_test
from sysmonlx.rules.kernel.automaton import FOUND, Automata, Limits, Pattern, Table
from sysmonlx.rules.kernel.bits import Bits, askable, true_of
from sysmonlx.rules.kernel.compiler import KernelRules, compile_kernel_rules
from sysmonlx.rules.kernel.fields import EVENTS, FIELDS
from sysmonlx.rules.kernel.literals import Askable, Literal
from sysmonlx.schema.conditions import CONDITIONS
from sysmonlx.schema.event_types import AnswerKind
from sysmonlx.schema.events import EVENT_BY_ID

HEADER = Path(__file__).parents[4] / "ebpf" / "filter" / "rules.bpf.h"


def enumerators() -> Iterator[tuple[str, int]]:
    """Yield the enumerators of the header, as BTF would tell them."""
    known: dict[str, int] = {}
    for body in re.findall(r"enum \w+ \{(.*?)\};", HEADER.read_text(), re.S):
        value = -1
        for name, stated in re.findall(r"(FILTER_\w+)(?: = ([^,/]+))?,", body):
            value = eval(stated, {}, known) if stated else value + 1
            known[name] = value
            yield name, value


NUMBERS = dict(enumerators())
LIMITS = Limits(classes=64, states=8192, outputs=1024)
WORDS = ["", "a", "A", "b", "ab", "/", "é", "sh", "9", "10", "_", "z", "[", "\x7f"]


def walk(table: Table, state: int, text: str, width: int = LIMITS.classes) -> int:
    """Return what is found, as the kernel would: byte by byte, and a NUL."""
    found = 0
    for byte in text.encode("utf-8", "surrogateescape") + b"\0\0\0":
        state = table.transitions[(state % FOUND) * width + table.byte_classes[byte]]
        if state & FOUND:
            found |= table.outputs[table.output_of[state % FOUND]]
    return found


def built(limits: Limits, *patterns: Pattern) -> tuple[Table, int]:
    automata = Automata(limits)
    number = automata.add_field()
    for index, pattern in enumerate(patterns):
        assert automata.add(number, [pattern], 1 << index)
    table = automata.build()
    assert table is not None
    return table, automata.start(number)


def occurs(pattern: Pattern, text: str) -> bool:
    sought, whole = pattern.text.decode(), text.translate(reference.LOWER)
    if pattern.at_start and pattern.at_end:
        return whole == sought
    if pattern.at_start:
        return whole.startswith(sought)
    return whole.endswith(sought) if pattern.at_end else sought in whole


@given(randoms())
@examples(150)
def test_every_pattern_that_occurs_is_found_and_no_other(chance: Random) -> None:
    words = [word for word in WORDS if word == word.lower()]
    patterns = [
        Pattern(
            ("".join(chance.choices(words, k=3)) or "x").encode(),
            chance.random() < 0.4,
            chance.random() < 0.4,
        )
        for _ in range(chance.randint(1, 9))
    ]
    table, start = built(LIMITS, *patterns)
    for _ in range(9):
        text = "".join(chance.choices(WORDS, k=chance.randint(0, 7)))
        found = walk(table, start, text)
        for index, pattern in enumerate(patterns):
            assert bool(found >> index & 1) is occurs(pattern, text), (pattern, text)


@given(randoms())
@examples(150)
def test_conditions_on_a_path_are_found_by_the_automaton(chance: Random) -> None:
    condition = chance.choice([*CONDITIONS])
    value = strategies.value(chance, WORDS) or "x"
    test = make_test("TargetFilename", condition, value)
    atoms = frozenset(test.atoms) - {Atom(Operation.MORE, "")}
    bits = Bits(NUMBERS)
    places = [
        bits.place_of(11, Literal(test.field, frozenset({atom})))
        if askable(FIELDS[11][test.field], atom) is Askable.YES
        else None
        for atom in atoms
    ]
    table = bits.table()
    assert table is not None
    start = bits.starts().get("path", 0)
    for _ in range(9):
        text = "/" + strategies.text(chance, WORDS)
        found = walk(table, start, text)
        answers = {
            atom: place is not None and bool(found & place[1])
            for atom, place in zip(atoms, places, strict=True)
        }
        asked = [answers.get(atom, True) for atom in test.atoms]
        passed = (all(asked) if test.need_all else any(asked)) != test.negated
        if None not in places:
            assert passed is reference.compare(condition, text, value)


def test_fields_do_not_find_each_others_patterns() -> None:
    automata = Automata(LIMITS)
    one, other = automata.add_field(), automata.add_field()
    automata.add(one, [Pattern(b"x", False, False)], 1)
    automata.add(other, [Pattern(b"x", True, True)], 2)
    table = automata.build()
    assert table is not None
    assert walk(table, automata.start(one), "axb") == 1
    assert walk(table, automata.start(other), "axb") == 0
    assert walk(table, automata.start(other), "X") == 2


def test_in_the_middle_of_a_text_nothing_begins() -> None:
    automata = Automata(LIMITS)
    number = automata.add_field()
    automata.add(number, [Pattern(b"/x", True, False)], 1)
    automata.add(number, [Pattern(b"/x", False, True)], 2)
    table = automata.build()
    assert table is not None
    assert walk(table, automata.inside(number), "/x") == 2


@pytest.mark.parametrize(
    "limits", [Limits(8, 9999, 99), Limits(64, 9, 99)], ids=["classes", "states"]
)
def test_what_does_not_fit_is_refused_and_the_rest_still_works(limits: Limits) -> None:
    automata = Automata(limits)
    number = automata.add_field()
    assert automata.add(number, [Pattern(b"abc", False, False)], 1)
    assert not automata.add(number, [Pattern(b"defghijk", False, False)], 2)
    table = automata.build()
    assert table is not None
    assert walk(table, automata.start(number), "abcdefghijk", limits.classes) == 1


def test_strings_that_begin_alike_share_what_they_begin_with() -> None:
    automata = Automata(Limits(64, 30, 999))
    number = automata.add_field()
    ends = [f"/srv/service{end}".encode() for end in "abcdefghijklmn"]
    for bit, text in enumerate(ends):
        assert automata.add(number, [Pattern(text, True, False)], 1 << bit)
    assert not automata.add(number, [Pattern(b"/srv/servant", True, False)], 1 << 20)
    assert not automata.add(number, [Pattern(b"/srv", False, False)], 1 << 20)
    assert automata.add(number, [Pattern(b"/srv", True, False)], 1 << 20)
    table = automata.build()
    assert table is not None
    assert len(table.output_of) <= 30
    start = automata.start(number)
    assert walk(table, start, "/srv/servicek/x") == 1 << 10 | 1 << 20


def test_five_hundred_long_conditions_fit() -> None:
    """Of the four kinds, with hardly anything in common."""
    chance = Random(1)
    kinds = ("begin with", "end with", "contains", "is")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789/-_."
    items = [
        Filter(
            "TargetFilename", kinds[n % 4], "/" + "".join(chance.choices(letters, k=28))
        )
        for n in range(500)
    ]
    rules = compiled(file_create(*items))
    assert [e.reason for e in rules.events if e.event_id == 11] == [""]
    assert 12_000 < len(rules.table.output_of) <= NUMBERS["FILTER_STATES"]


def test_too_many_combinations_give_no_table() -> None:
    automata = Automata(Limits(64, 9999, 2))
    number = automata.add_field()
    automata.add(number, [Pattern(b"a", False, False)], 1)
    automata.add(number, [Pattern(b"b", False, False)], 2)
    assert automata.build() is None


def compiled(*elements: Element) -> KernelRules:
    ruleset = Ruleset("4.90", elements)
    decisions = {event_id: make_decision(ruleset, event_id) for event_id in EVENTS}
    rules = compile_kernel_rules(decisions, NUMBERS)
    assert rules is not None
    return rules


def file_create(*items: Filter | Compound, onmatch: str = "include") -> Element:
    return Element("FileCreate", (11,), onmatch, "or", items)


def test_alternatives_on_one_field_share_one_bit() -> None:
    items = [Filter("TargetFilename", "begin with", f"/etc/{n}") for n in range(500)]
    rules = compiled(file_create(*items, Filter("Image", "end with", "wget")))
    assert [term.mask for term in rules.terms] == [1, 1]


def test_reasons_are_given_event_by_event() -> None:
    rules = compiled(
        file_create(Filter("Image", "is", "x")),
        Element("FileDelete", (23,), "include", "or", (Filter("Hashes", "is", "x"),)),
        Element("RawAccessRead", (9,), "exclude", "or", ()),
    )
    events = {event.event_id: event for event in rules.events}
    assert events[11].reason == ""
    assert events[23].reason == "its rules ask Hashes"
    assert events[9].reason == "all of them are reported"
    assert events[3].never


def test_an_unknown_field_leaves_what_the_rest_of_a_rule_decides() -> None:
    parts = (Filter("Image", "is", "x"), Filter("Hashes", "is", "y"))
    delete = Element("FileDelete", (23,), "include", "or", (Compound(parts, "and", 1),))
    assert len(compiled(delete).terms) == 1
    excluding = Element(
        "FileDelete", (23,), "exclude", "or", (Compound(parts, "and", 1),)
    )
    [event] = [e for e in compiled(excluding).events if e.event_id == 23]
    assert event.reason == "its rules ask Hashes"


def test_users_are_asked_by_name() -> None:
    rules = compiled(
        file_create(Filter("User", "is", "ROOT")),
        Element("FileDelete", (23,), "include", "or", (Filter("User", "is", "x"),)),
    )
    bits = [true_of(iter(rules.users), name) for name in ("root", "X", "y")]
    assert bits == [1, 2, 0]


def test_every_field_that_the_kernel_knows_is_one_of_its_event() -> None:
    assert FIELDS.keys() == EVENTS.keys()
    for event_id, fields in FIELDS.items():
        assert EVENTS[event_id] in NUMBERS
        assert fields.keys() <= {field.name for field in EVENT_BY_ID[event_id].fields}
        named = [place for place in fields.values() if place.enumerator]
        assert {place.enumerator for place in named} <= NUMBERS.keys()
        for kind, limit in ((AnswerKind.CHOICE, "CHOICES"), (AnswerKind.TEXT, "TEXTS")):
            indexes = [NUMBERS[p.enumerator] for p in named if p.kind is kind]
            assert len(set(indexes)) == len(indexes)
            assert max(indexes, default=0) < NUMBERS[f"FILTER_{limit}"]
