# SPDX-License-Identifier: MIT
"""Sigma rules in the kernel: it discards other events, and none that they report."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from support import judge, sigma, strategies
from support.judge import Judge, random_text
from support.packs import ruleset_with
from support.strategies import examples, randoms

from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.kernel.fields import FIELDS
from sysmonlx.schema.events import EVENT_BY_ID

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def kernel() -> Iterator[Judge]:
    loaded = Judge()
    yield loaded
    loaded.close()


def event_text(chance: Random, event_id: int) -> dict[str, str]:
    """Return texts of an event, of which the words of the rules are a part."""
    texts = {
        name: random_text(chance, place) for name, place in FIELDS[event_id].items()
    }
    for name, text in sigma.random_texts(chance, event_id).items():
        if name in ("Image", "TargetFilename") and text != "-":
            texts[name] = f"/{text}"
        elif name in ("DestinationIp", "DestinationPort") and text != "-":
            texts[name] = text
    return texts


class Score:
    """How many events were reported, and how many the kernel discarded."""

    def __init__(self) -> None:
        self.reported = self.discarded = 0

    def compare(self, kernel: Judge, chance: Random) -> None:
        event_id = chance.choice((3, 11))
        rules = [sigma.random_rule(chance, n, event_id) for n in range(3)]
        fields = chance.sample([*FIELDS[event_id]], k=2)
        elements = strategies.ruleset(chance, (event_id,), fields, judge.WORDS).elements
        action = chance.choice(("include", "always"))
        compiled = compile_rules(ruleset_with(rules, action, elements))
        kernel.install(compiled)
        names = EVENT_BY_ID[event_id].with_appended(("RuleNames",)).fields
        for _ in range(12):
            texts = event_text(chance, event_id)
            values = [texts.get(field.name, "-") for field in names]
            is_reported = compiled.match(event_id, values) is not None
            is_discarded = kernel.discards(event_id, texts)
            assert not (is_reported and is_discarded), (rules, elements, texts)
            self.reported += is_reported
            self.discarded += is_discarded


def test_the_kernel_discards_nothing_that_a_rule_reports(kernel: Judge) -> None:
    score = Score()

    @given(randoms())
    @examples(50)
    def compare(chance: Random) -> None:
        score.compare(kernel, chance)

    compare()
    assert score.reported > 50
    assert score.discarded > 50
