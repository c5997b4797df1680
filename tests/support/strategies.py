# SPDX-License-Identifier: MIT
"""Random configurations, and random events that their rules often match.

Hypothesis chooses the seed (`st.randoms(use_true_random=True)`) and prints it when a
test fails; drawing every part through it would be fifty times slower.

The gate tries the same examples each time and so says the same of the same sources;
`make fuzz` looks for others, SYSMONLX_TEST_EXAMPLES times as many.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from sysmonlx.policy import Compound, Element, Filter, Ruleset
from sysmonlx.schema.conditions import CONDITIONS
from sysmonlx.schema.events import EVENT_BY_ID, EVENTS

#: Pieces of which both texts and values are made, so that conditions often hold.
WORDS = [
    *["", "a", "A", "b", "/", "\\", ";", "-", "_", ".", "9", "10", "1024", "true"],
    *["/bin/sh", "sh", "bin", "/usr/bin/bash", "wget", "curl -s", "root", "é", "É"],
    *[
        "ß",
        "日本",
        "😀",
        "\ud800",
        "\udcff",
        "\uffff",
        "[",
        "`",
        "Z",
        "z",
        "\n",
        "\x1b",
    ],
]

NAMES = ["", "", "one", "two", "three"]

TAGS: dict[str, tuple[int, ...]] = {}
for _event in EVENTS:
    if _event.tag:
        TAGS[_event.tag] = (*TAGS.get(_event.tag, ()), _event.id)


_TIMES = int(os.environ.get("SYSMONLX_TEST_EXAMPLES", "0"))


def examples(count: int) -> settings:
    """Return the settings of a test that tries so many examples.

    How long one takes to be made says how busy the machine is.
    """
    return settings(
        max_examples=count * max(_TIMES, 1),
        deadline=None,
        derandomize=not _TIMES,
        suppress_health_check=[HealthCheck.too_slow],
    )


def randoms() -> st.SearchStrategy[Random]:
    """Return sources of chance, seeded by hypothesis."""
    return st.randoms(use_true_random=True)


def text(chance: Random, words: Sequence[str] = WORDS) -> str:
    """Return a text made of a few words."""
    return "".join(chance.choices(words, k=chance.randint(0, 4)))


#: Where order differs by encoding: ASCII, below and above the surrogates, beyond them.
PLANES = [(0, 0x7F), (0x80, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)]


def any_text(chance: Random) -> str:
    """Return a text of any characters, some of them the same."""
    found = [chr(chance.randint(*chance.choice(PLANES))) for _ in range(3)]
    return "".join(chance.choices([*found, "a", "Z"], k=chance.randint(0, 5)))


def some_bytes(chance: Random, alphabet: bytes = b"", size: int = 60) -> bytes:
    """Return up to so many bytes: any, or of these."""
    count = chance.choice([0, 1, 2, 3, chance.randint(0, size), size])
    return bytes(chance.choices(alphabet or range(256), k=count))


def value(chance: Random, words: Sequence[str] = WORDS) -> str:
    """Return a filter's value: one text, or a list with semicolons."""
    count = chance.choice([1, 1, 2, 3])
    return ";".join(text(chance, words) for _ in range(count))


def filters(
    chance: Random,
    fields: Sequence[str],
    count: int,
    words: Sequence[str] = WORDS,
) -> list[Filter]:
    """Return filters on some of these fields."""
    return [
        Filter(
            chance.choice(fields),
            chance.choice(list(CONDITIONS)),
            value(chance, words),
            chance.choice(NAMES),
        )
        for _ in range(count)
    ]


def element(
    chance: Random,
    event_ids: tuple[int, ...],
    fields: Sequence[str],
    words: Sequence[str] = WORDS,
) -> Element:
    """Return an event element with plain filters and Rules in any order."""
    items: list[Filter | Compound] = []
    for number in range(chance.randint(0, 4)):
        if chance.random() < 0.4:
            inside = filters(chance, fields, chance.randint(0, 3), words)
            relation = chance.choice(["and", "or"])
            items.append(Compound(tuple(inside), relation, number))
        else:
            items += filters(chance, fields, 1, words)
    return Element(
        EVENT_BY_ID[event_ids[0]].tag or "",
        event_ids,
        chance.choice(["include", "exclude"]),
        chance.choice(["and", "or"]),
        tuple(items),
        bound_id=event_ids[0],
    )


def ruleset(
    chance: Random,
    event_ids: tuple[int, ...],
    fields: Sequence[str] = (),
    words: Sequence[str] = WORDS,
) -> Ruleset:
    """Return rules of one tag, on these fields or any few of its first event."""
    if not fields:
        names = [field.name for field in EVENT_BY_ID[event_ids[0]].fields]
        fields = chance.sample(names, k=min(len(names), chance.choice([2, 3, 9])))
    count = chance.choice([0, 1, 1, 2, 3])
    elements = [element(chance, event_ids, fields, words) for _ in range(count)]
    return Ruleset("4.90", tuple(elements))


def event(chance: Random, event_id: int, words: Sequence[str] = WORDS) -> list[str]:
    """Return an event's values; RuleName is not known yet."""
    return [
        "-" if field.name == "RuleName" else text(chance, words)
        for field in EVENT_BY_ID[event_id].fields
    ]
