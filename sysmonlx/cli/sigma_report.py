# SPDX-License-Identifier: MIT
"""The part of rules of Sigma in what `sysmonlx -test` says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from sysmonlx.policy import Ruleset
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.sigma.explain import in_words, reasons
from sysmonlx.rules.sigma.forms import RuleInForce, ordered
from sysmonlx.schema.events import EVENT_BY_ID

#: Characters of a field's text that a reason shows.
_SHOWN = 200


def place_of(each: RuleInForce) -> str:
    """Return where a rule stands: file and line of its YAML, or its pack."""
    return f"{each.rule.file}:{each.rule.line}" if each.rule.file else each.pack


class SigmaReport:
    """Judges events by all rules, and counts the hits of each rule of Sigma."""

    def __init__(self, ruleset: Ruleset) -> None:
        self._ruleset = ruleset
        self._rules = compile_rules(ruleset)
        self._hits: Counter[str] = Counter()

    def judge(
        self, event_id: int, values: list[str], by_sysmon: str | None
    ) -> tuple[str | None, list[RuleInForce]]:
        """Return RuleName, None for an event that is not reported, and the hits.

        `by_sysmon` is what Sysmon's rules alone say.
        """
        mine = ordered(self._rules.sigma, event_id)
        if not mine:
            return by_sysmon, []
        name = self._rules.decide[event_id](values)
        if name is None:
            return None, []
        bits = self._rules.judges[event_id].find(values)
        hits = [each for at, each in enumerate(mine) if bits >> at & 1]
        self._hits.update(each.rule.id or each.rule.title for each in hits)
        return name, hits

    def reasons(
        self, event_id: int, values: Sequence[str], hits: Sequence[RuleInForce]
    ) -> Iterator[str]:
        """Yield, for each hit, the rule and the tests that made it true."""
        fields = EVENT_BY_ID[event_id].with_appended(self._ruleset.appended).fields
        texts = dict(zip((field.name for field in fields), values, strict=True))
        for each in hits:
            rule = each.rule
            yield f"#   {place_of(each)}: Sigma, {rule.level}: {rule.title}"
            for test in reasons(rule.expression, texts):
                yield f"#     {in_words(test)}; it is {_shown(texts[test.field])}"

    def rows(self) -> Iterator[tuple[int, str, str]]:
        """Yield how often each rule hit, where it stands, and its title."""
        for each in self._rules.sigma:
            times = self._hits[each.rule.id or each.rule.title]
            yield times, place_of(each), f"Sigma, {each.action}: {each.rule.title}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
