# SPDX-License-Identifier: MIT
from __future__ import annotations

import marshal

from sysmonlx.policy import Compound, Element, Filter
from sysmonlx.rules import conditions
from sysmonlx.rules.clauses import FALSE, TRUE, Clause, Decision, Junction
from sysmonlx.rules.conditions import Atom, Operation
from sysmonlx.rules.plain_form import (
    decision_of,
    element_of,
    plain_decision,
    plain_element,
)

#: No attribute of a filter, a Rule or an element has its default.
FILTER = Filter("Image", "end with", "/sh", "shells", 3)
OTHER = Filter("User", "is", "root", "root", 4)
ELEMENT = Element(
    "PipeEvent",
    (17, 18),
    "exclude",
    "and",
    (FILTER, Compound((OTHER, FILTER), "or", 7, "rule", 5)),
    2,
    18,
)
TEST = conditions.Test(
    "Image", (Atom(Operation.END, "/sh"), Atom(Operation.IS, "a")), True, True
)
CLAUSES = (
    Clause(TEST, True, "a", ((TEST, "b"), (TRUE, "c")), 6),
    Clause(Junction(True, (TEST, Junction(False, (TEST, FALSE)))), False),
)


def test_an_element_comes_back_whole() -> None:
    packed = marshal.dumps(plain_element(ELEMENT))
    assert element_of(marshal.loads(packed)) == ELEMENT


def test_a_decision_comes_back_whole() -> None:
    decision = Decision(1, CLAUSES * 50, True)
    packed = marshal.dumps(plain_decision(decision))
    assert decision_of(marshal.loads(packed)) == decision
