# SPDX-License-Identifier: MIT
"""The part of rules of Sigma in what `sysmonlx -test` says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sysmonlx.policy import Ruleset
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.sigma import linking
from sysmonlx.rules.sigma.explain import in_words, reasons
from sysmonlx.rules.sigma.forms import RuleInForce, ordered
from sysmonlx.rules.sigma.pack import Head, SigmaRule
from sysmonlx.rules.sigma.recorded import Recorded
from sysmonlx.schema.events import EVENT_BY_ID

#: Characters of a field's text that a reason shows.
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that is true of an event, or a correlation that it completes.

    `pack` is the path of its pack. `after` are the earlier events of a correlation.
    """

    head: Head
    pack: str
    after: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where it stands: file and line of its YAML, or its pack."""
        return _place_of(self.head, self.pack)


def _place_of(head: Head, pack: str) -> str:
    return f"{head.file}:{head.line}" if head.file else pack


class SigmaReport:
    """Judges events by all rules, and counts the hits of each rule of Sigma."""

    def __init__(self, ruleset: Ruleset) -> None:
        self._ruleset = ruleset
        self._rules = compile_rules(ruleset)
        self._recorded = Recorded()
        self._hits: Counter[str] = Counter()

    def judge(
        self, event_id: int, values: list[str], by_sysmon: str | None
    ) -> tuple[str | None, list[Hit]]:
        """Return RuleName, None for an event that is not reported, and the hits.

        `by_sysmon` is what Sysmon's rules alone say.
        """
        deed = None
        if self._rules.correlations:
            deed = self._recorded.deed(event_id, self._texts(event_id, values), values)
        mine = ordered(self._rules.sigma, event_id)
        if not mine:
            return by_sysmon, []
        name = self._rules.decide[event_id](values)
        if name is None:
            return None, []
        judge = self._rules.judges[event_id]
        bits = judge.find(values)
        hits = [each for at, each in enumerate(mine) if bits >> at & 1]
        found = [Hit(each.rule, each.pack) for each in _named_first(hits)]
        noted, judge.noted = judge.noted, None
        if deed is not None and noted is not None:
            correlator = self._rules.correlator
            fired = linking.take(judge, correlator, noted, deed)
            if fired:
                name, _ = linking.named(judge, correlator, noted, fired)
            joined = [(self._rules.correlations[e.correlation], e.told) for e in fired]
            found = [Hit(e.correlation, e.pack, told) for e, told in joined] + found
        self._hits.update(_key(each.head) for each in found)
        return name, found

    def _texts(self, event_id: int, values: Sequence[str]) -> dict[str, str]:
        fields = EVENT_BY_ID[event_id].with_appended(self._ruleset.appended).fields
        return dict(zip((field.name for field in fields), values, strict=True))

    def reasons(
        self, event_id: int, values: Sequence[str], hits: Sequence[Hit]
    ) -> Iterator[str]:
        """Yield, for each hit, the rule and the tests that made it true."""
        texts = self._texts(event_id, values)
        for each in hits:
            yield f"#   {each.place}: Sigma, {each.head.level}: {each.head.title}"
            for text in each.after:
                yield f"#     after {text}"
            if isinstance(each.head, SigmaRule):
                for test in reasons(each.head.expression, texts):
                    where = f"{test.origin}: " if test.origin else ""
                    found = f"it is {_shown(texts[test.field])}"
                    yield f"#     {where}{in_words(test)}; {found}"

    def rows(self) -> Iterator[tuple[int, str, str]]:
        """Yield how often each rule hit, where it stands, and its title."""
        for each in self._rules.sigma:
            what = each.action if each.is_named else f"{each.action}, a step"
            place = _place_of(each.rule, each.pack)
            yield (
                self._hits[_key(each.rule)],
                place,
                f"Sigma, {what}: {each.rule.title}",
            )
        for one in self._rules.correlations:
            of = one.correlation
            text = f"Sigma, correlation: {of.title}"
            yield self._hits[_key(of)], _place_of(of, one.pack), text


def _key(head: Head) -> str:
    return head.id or head.title


def _named_first(hits: Sequence[RuleInForce]) -> list[RuleInForce]:
    return sorted(hits, key=lambda each: not each.is_named)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
