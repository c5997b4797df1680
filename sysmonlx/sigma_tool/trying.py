# SPDX-License-Identifier: MIT
"""Rules tried on recorded events, and the answer of each of their tests."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import BinaryIO, TextIO

from sysmonlx.config.sigma.outline import Leaf, Not, Outline
from sysmonlx.output.escape import visible
from sysmonlx.policy import RULE_NAMES, RulesChoice
from sysmonlx.rules.clauses import Expression, Junction
from sysmonlx.rules.conditions import Test
from sysmonlx.rules.sigma.correlator import Correlator
from sysmonlx.rules.sigma.explain import holds, in_words
from sysmonlx.rules.sigma.forms import (
    RuleInForce,
    chosen,
    correlated,
    judge_form,
    ordered,
)
from sysmonlx.rules.sigma.judge import SigmaJudge
from sysmonlx.rules.sigma.linking import take
from sysmonlx.rules.sigma.pack import (
    LEVELS,
    STATUSES,
    Correlation,
    Head,
    Pack,
    SigmaRule,
)
from sysmonlx.rules.sigma.recorded import Recorded
from sysmonlx.rules.sigma.steps import correlation_forms
from sysmonlx.schema.events import APPENDED, EVENT_BY_ID
from sysmonlx.viewer.read import BadLine, EventLine, bounded_lines, read_events

OK, UNREADABLE = 0, 1
#: Characters of a value that an answer shows.
_SHOWN = 200


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdin.buffer
        return
    with open(path, "rb") as file:
        yield file


def test(pack: Pack, events: str, out: TextIO) -> int:
    """Judge events: a line for each, one more for each further hit, then the counts."""
    trial = Trial(pack)
    unreadable = 0
    with _opened(events) as file:
        for item in read_events(bounded_lines(file)):
            if isinstance(item, BadLine):
                if item.is_event:
                    unreadable += 1
                    out.write(f"# input line {item.line}: {visible(item.reason)}\n")
                continue
            out.writelines(f"{each}\n" for each in trial.rows(item) or ["-"])
    for head in (*pack.rules, *pack.correlations):
        times = trial.hits[id(head)] or "never"
        out.write(f"# {times}\t{_title(head)}\n")
    return UNREADABLE if unreadable else OK


#: A correlation that an event completes, and what came before it.
Completed = tuple[Correlation, tuple[str, ...]]


class Trial:
    """Judges events by all rules and correlations of a pack, and counts their hits."""

    def __init__(self, pack: Pack) -> None:
        choice: RulesChoice = ("", "tag", LEVELS[0], STATUSES[0])
        self._rules = [*chosen(pack, choice, APPENDED)]
        self._correlations = [*correlated(pack, choice, APPENDED)]
        self._correlator = Correlator(correlation_forms(self._correlations))
        self._recorded = Recorded()
        self._judges: dict[int, tuple[list[RuleInForce], SigmaJudge]] = {}
        self.hits: Counter[int] = Counter()
        """By `id` of a rule or correlation; also of a rule that is but a step."""

    def judge(self, item: EventLine) -> tuple[list[RuleInForce], list[Completed]]:
        """Return the rules that an event hits, and the correlations it completes."""
        if item.event_id not in self._judges:
            self._judges[item.event_id] = self._judge(item.event_id)
        rules, judge = self._judges[item.event_id]
        values = _values(item)
        bits = judge.find(values) if rules else 0
        found = [each for at, each in enumerate(rules) if bits >> at & 1]
        return found, self._completed(item, values, judge, bits)

    def rows(self, item: EventLine) -> list[str]:
        """Return a line for each hit, correlations first."""
        found, fired = self.judge(item)
        self.hits.update(id(each.rule) for each in found)
        self.hits.update(id(head) for head, _ in fired)
        rows = [
            _row(head) + "".join(f"\tafter {text}" for text in told)
            for head, told in fired
        ]
        return rows + [_row(each.rule) for each in found if each.is_named]

    def _judge(self, event_id: int) -> tuple[list[RuleInForce], SigmaJudge]:
        mine = ordered(self._rules, event_id)
        fields = EVENT_BY_ID[event_id].with_appended(_ALL).fields
        return mine, SigmaJudge(judge_form(mine, fields, self._correlations))

    def _completed(
        self, item: EventLine, values: list[str], judge: SigmaJudge, bits: int
    ) -> list[Completed]:
        """Return the correlations that an event completes, with the events before."""
        if not self._correlations:
            return []
        deed = self._recorded.deed(item.event_id, _texts(item), values)
        if deed is None:
            return []
        fired = take(judge, self._correlator, (bits, ""), deed)
        return [
            (self._correlations[each.correlation].correlation, each.told)
            for each in fired
        ]


#: Events have all fields of ours that they can have.
_ALL = (*APPENDED, RULE_NAMES)


def _values(item: EventLine) -> list[str]:
    event = EVENT_BY_ID[item.event_id].with_appended(_ALL)
    ours = event.fields[len(item.values) :]
    return [*item.values, *(item.ours.get(each.name, "-") for each in ours)]


def _row(rule: Head) -> str:
    place = visible(f"{rule.file}:{rule.line}")
    return f"hit\t{rule.level}\t{_title(rule)}\t{place}"


def _title(rule: Head) -> str:
    return visible(" ".join(rule.title.split()))


def explain(
    rules: Sequence[tuple[int, SigmaRule]],
    outlines: Mapping[int, Outline],
    events: str,
    out: TextIO,
) -> int:
    """Print each rule as a tree, with the answer of each part to each event."""
    status, has_events = OK, False
    with _opened(events) as file:
        for item in read_events(bounded_lines(file)):
            if isinstance(item, BadLine):
                status = UNREADABLE if item.is_event else status
                continue
            has_events = True
            for at, rule in rules:
                out.write(f"{_verdict(rule, item)}: {_title(rule)}\n")
                if item.event_id in rule.event_ids:
                    texts = _texts(item)
                    tree = outlines.get(at)
                    lines = (
                        _outline(tree, texts, 1)
                        if tree
                        else _tree(rule.expression, texts, 1)
                    )
                    out.writelines(f"{each}\n" for each in lines)
    if not has_events:
        out.write("# there is no event in what was read\n")
    return status


def _texts(item: EventLine) -> dict[str, str]:
    fields = EVENT_BY_ID[item.event_id].with_appended(_ALL).fields
    return dict(zip((each.name for each in fields), _values(item), strict=True))


def _verdict(rule: SigmaRule, item: EventLine) -> str:
    where = f"line {item.line}, event {item.event_id}"
    if item.event_id not in rule.event_ids:
        return f"{where}: not asked"
    return f"{where}: {'hit' if holds(rule.expression, _texts(item)) else 'no hit'}"


def _outline(part: Outline, texts: Mapping[str, str], depth: int) -> Iterator[str]:
    """Yield the lines of an outline as the reader made it."""
    mark = "+" if _is_true(part, texts) else "-"
    indent = "  " * depth
    if isinstance(part, Leaf):
        yield f"{indent}{mark} {_told(part.test, texts)} (line {part.line})"
        return
    if isinstance(part, Not):
        yield f"{indent}{mark} not"
        yield from _outline(part.part, texts, depth + 1)
        return
    has_row = bool(part.label) or len(part.parts) > 1
    if part.label:
        yield f"{indent}{mark} {visible(part.label)} (line {part.line})"
    elif has_row:
        yield f"{indent}{mark} {'all' if part.need_all else 'any'} of"
    for each in part.parts:
        yield from _outline(each, texts, depth + 1 if has_row else depth)


def _is_true(part: Outline, texts: Mapping[str, str]) -> bool:
    if isinstance(part, Leaf):
        return _answer(part.test, texts)
    if isinstance(part, Not):
        return not _is_true(part.part, texts)
    answers = (_is_true(each, texts) for each in part.parts)
    return all(answers) if part.need_all else any(answers)


def _answer(test: Test, texts: Mapping[str, str]) -> bool:
    if test.field not in texts:  # the number of the event, or no field of it
        texts = {**texts, test.field: "-"}
    return holds(test, texts)


def _tree(part: Expression, texts: Mapping[str, str], depth: int) -> Iterator[str]:
    indent = "  " * depth
    if isinstance(part, Junction):
        mark = "+" if holds(part, texts) else "-"
        yield f"{indent}{mark} {'all' if part.need_all else 'any'} of"
        for each in part.parts:
            yield from _tree(each, texts, depth + 1)
        return
    mark = "+" if _answer(part, texts) else "-"
    yield f"{indent}{mark} {_told(part, texts)}"


def _told(test: Test, texts: Mapping[str, str]) -> str:
    text = texts.get(test.field, "-")
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return f"{visible(in_words(test))}; it is {shown!r}"
