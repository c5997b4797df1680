# SPDX-License-Identifier: MIT
"""What the compiled form answers equals a plain evaluation of the rules."""

from __future__ import annotations

import marshal
import sys
from collections.abc import Callable, Sequence
from random import Random

import pytest
from support import sigma

from sysmonlx.rules import conditions
from sysmonlx.rules.clauses import TRUE, Expression, Junction
from sysmonlx.rules.conditions import Atom, Operation
from sysmonlx.rules.sigma import judge as judge_module
from sysmonlx.rules.sigma import regular
from sysmonlx.rules.sigma.forms import RuleInForce, judge_form, ordered
from sysmonlx.rules.sigma.judge import JudgeForm, SigmaJudge, joined
from sysmonlx.rules.sigma.pack import SigmaRule
from sysmonlx.rules.sigma.questions import answer_of
from sysmonlx.schema.events import EVENT_BY_ID


def judged(
    rules: Sequence[SigmaRule], event_id: int, action: str = "tag"
) -> tuple[list[RuleInForce], SigmaJudge]:
    """Return the rules in their order and the judge, made of what marshal carries."""
    mine = ordered([RuleInForce(rule, action) for rule in rules], event_id)
    form = judge_form(mine, EVENT_BY_ID[event_id].fields)
    return mine, SigmaJudge(JudgeForm(*marshal.loads(marshal.dumps(tuple(form)))))


def values_of(event_id: int, **texts: str) -> list[str]:
    return [texts.get(field.name, "-") for field in EVENT_BY_ID[event_id].fields]


def is_hit(expression: Expression, event_id: int = 1, **texts: str) -> bool:
    rule = SigmaRule(title="x", event_ids=(event_id,), expression=expression)
    _, judge = judged([rule], event_id)
    values = values_of(event_id, **texts)
    answers = {judge.find(values), judge.find(values)}  # the second time from memory
    assert len(answers) == 1
    assert judge.errors == 0
    return bool(answers.pop())


@pytest.mark.parametrize("event_id", sorted(sigma.FIELDS))
@pytest.mark.parametrize("seed", range(3))
def test_judge_equals_a_plain_evaluation(event_id: int, seed: int) -> None:
    random = Random(seed * 1000 + event_id)
    rules = [sigma.random_rule(random, number, event_id) for number in range(40)]
    mine, judge = judged(rules, event_id)
    for _ in range(60):
        texts = sigma.random_texts(random, event_id)
        expected = [
            each.rule.title for each in mine if sigma.holds(each.rule.expression, texts)
        ]
        found = judge.find(values_of(event_id, **texts))
        titles = [each.rule.title for at, each in enumerate(mine) if found >> at & 1]
        assert titles == expected, texts
    assert judge.errors == 0


def contains(field: str, *operands: str, negated: bool = False) -> conditions.Test:
    atoms = tuple(Atom(Operation.CONTAINS, each) for each in operands)
    return conditions.Test(field, atoms, negated=negated)


def test_missing_field_is_true_of_no_question_but_missing() -> None:
    dash = conditions.Test("CommandLine", (Atom(Operation.IS, "-"),))
    missing = conditions.Test("CommandLine", (Atom(Operation.MISSING, ""),))
    pattern = conditions.Test("CommandLine", (Atom(Operation.REGEX, "."),))
    anything = conditions.Test("CommandLine", (Atom(Operation.GLOB, "*"),))
    for each in (dash, pattern, anything, contains("CommandLine", "-")):
        assert not is_hit(each)
    assert is_hit(missing)
    assert not is_hit(missing, CommandLine="x")
    assert is_hit(contains("CommandLine", "-", negated=True))
    assert is_hit(contains("CommandLine", "-"), CommandLine="a-b")


@pytest.mark.parametrize(
    ("operand", "text", "fits"),
    [
        ("a*b", "ab", True),
        ("a*b", "abc", False),
        ("a*ba", "aba", True),
        ("ab*ba", "aba", False),
        ("*x?z*", "..XYZ..", True),
        (r"a\*b", "a*b", True),
        (r"a\*b", "axb", False),
        (r"a\\*", "a\\b", True),
        ("*a*b*c*", "c b a", False),
        ("**", "x", True),
        ("??", "ab", True),
        ("?", "ab", False),
    ],
)
def test_pattern_fits_the_whole_text(operand: str, text: str, fits: bool) -> None:
    test = conditions.Test("CommandLine", (Atom(Operation.GLOB, operand),))
    assert is_hit(test, CommandLine=text) is fits


def test_pattern_of_many_stars_is_quick_on_a_hostile_text() -> None:
    """Backtracking would take hours for this one."""
    test = conditions.Test("CommandLine", (Atom(Operation.GLOB, "*a" * 40 + "b"),))
    assert not is_hit(test, CommandLine="a" * 16_000)


@pytest.mark.parametrize(
    "pattern", [r"^(a+)+$", "a.*b", "(a|ab)+c", "(?=x)y", r"(x)\1"]
)
def test_expression_that_may_take_long_needs_re2(
    pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(ValueError, match=r"needs google-re2|no regular"):
        regular.searcher(pattern)


def test_end_of_an_expression_is_the_end_of_the_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    found = regular.searcher(r"(?i)x[$]y$")
    assert found("..X$Y")
    assert not found("x$y\n")


def test_expression_is_made_when_it_is_first_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []

    def noted(atom: Atom) -> Callable[[str], bool]:
        made.append(atom.operand)
        return answer_of(atom)

    monkeypatch.setattr(judge_module, "answer_of", noted)
    expression = Junction(
        need_all=True,
        parts=(
            conditions.Test("Image", (Atom(Operation.END, "/x"),)),
            conditions.Test("User", (Atom(Operation.IS, "root"),)),
            conditions.Test("CommandLine", (Atom(Operation.REGEX, "a.c"),)),
        ),
    )
    rule = SigmaRule(title="x", event_ids=(1,), expression=expression)
    _, judge = judged([rule], 1)
    asked = []
    for user, line in (("bin", "abc"), ("root", "abc"), ("root", "b"), ("bin", "ac")):
        values = values_of(1, Image="/bin/x", User=user, CommandLine=line)
        asked.append((judge.find(values), len(made)))
    assert asked == [(0, 0), (1, 1), (0, 1), (0, 1)]


def test_severest_rule_has_the_lowest_bit_and_names_the_event() -> None:
    rules = [
        SigmaRule(title=f"{level} {n}", level=level, event_ids=(1,), expression=TRUE)
        for n in (2, 1)
        for level in ("low", "critical", "high")
    ]
    mine, judge = judged(rules, 1)
    hits = judge.find(values_of(1))
    assert hits == 0b111111
    found = judge.name(hits)
    assert found.severest == "sigma=critical 1,level=critical"
    titles = [name.split(",")[0] for name in found.names.split(" | ")]
    assert titles[1:3] == ["sigma=critical 2", "sigma=high 1"]
    assert judge.counts == [1] * 6
    assert mine[0].rule.level == "critical"


def test_names_of_very_many_hits_are_bounded_and_counted() -> None:
    text = joined(["sigma=" + "x" * 249] * 30)
    assert len(text) <= judge_module.NAMES_BYTES - 256
    shown = text.count("sigma=")
    assert text.endswith(f" | +{30 - shown} more")
    assert joined(["a|b", "c"]) == "a/b | c"


def test_question_that_fails_loses_no_event() -> None:
    _, judge = judged([SigmaRule(title="x", event_ids=(1,), expression=TRUE)], 1)
    judge._texts.clear()
    assert judge.find([""] * 40) == 1
    form = judge_form([], EVENT_BY_ID[1].fields)
    broken = form._replace(codes=((b"", ()),), unguarded=1, recurs=False)
    judge = SigmaJudge(broken)
    assert judge.find(values_of(1)) == 0
    assert judge.errors == 1


def test_what_hostile_programs_choose_is_kept_within_bounds() -> None:
    rule = SigmaRule(title="x", event_ids=(1,), expression=contains("CommandLine", "w"))
    _, judge = judged([rule], 1)
    (asked,) = (
        cell.cell_contents
        for cell in judge.find.__closure__ or ()
        if isinstance(cell.cell_contents, dict)
    )
    for number in range(3000):
        judge.find(values_of(1, CommandLine=f"{number}"))
        judge.find(values_of(1, CommandLine="x" * 2000 + str(number)))
    assert len(asked) <= 1024
    assert max(len(key[0]) for key in asked) < 2000


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (r"/mail/tmp/[a-z]{3}\.tar\.gz", ["/mail/tmp/", ".tar.gz"]),
        ("(?i)WGET", ["wget"]),
        ("(?i)task", ["ta"]),
        ("a|b", []),
        ("ab?c", ["a", "c"]),
        ("x(yz)w", ["x", "w"]),
        (r"\pN", []),
        ("É", ["É"]),
        ("(?i)É", []),
    ],
)
def test_literals_of_an_expression_are_in_each_text_that_it_fits(
    pattern: str, found: list[str]
) -> None:
    assert regular.literals(pattern) == found
