# SPDX-License-Identifier: MIT
"""How often which rule hit, when, and who made it hit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from sysmonlx.viewer.fields import text_of
from sysmonlx.viewer.read import EventLine
from sysmonlx.viewer.select import moment_of
from sysmonlx.viewer.terminal import word
from sysmonlx.viewer.what import short_rule, technique

#: Most names, images and machines that are kept; further ones are counted together.
_KEPT = 10_000
_OTHERS = "(others)"
_IMAGES = 3


@dataclass(slots=True)
class _Hits:
    count: int = 0
    first: str = "9"
    last: str = ""
    hosts: set[str] = field(default_factory=set)
    images: Counter[str] = field(default_factory=Counter)


class RuleCounts:
    """Counts hits by RuleName."""

    def __init__(self) -> None:
        self._hits: dict[str, _Hits] = {}
        self._events = 0

    def add(self, event: EventLine) -> None:
        """Count an event."""
        self._events += 1
        rule = text_of(event, "RuleName")
        if not rule:
            return
        is_kept = rule in self._hits or len(self._hits) < _KEPT
        hits = self._hits.setdefault(rule if is_kept else _OTHERS, _Hits())
        when = text_of(event, "UtcTime") or moment_of(event)
        hits.count += 1
        hits.first, hits.last = min(hits.first, when), max(hits.last, when)
        if len(hits.hosts) < _KEPT:
            hits.hosts.add(event.system.computer)
        image = text_of(event, "Image", "SourceImage")
        kept = image in hits.images or len(hits.images) < _KEPT
        hits.images[image if kept else _OTHERS] += 1

    def lines(self) -> Iterator[str]:
        """Yield a row for each rule, the one with most hits first."""
        total = sum(hits.count for hits in self._hits.values())
        yield f"{total:,} of {self._events:,} events under {len(self._hits):,} rules"
        if not self._hits:
            return
        yield (
            f"{'hits':>9}  {'technique':<10} {'first':<23}  {'last':<23} machines  rule"
        )
        order = sorted(self._hits.items(), key=lambda item: (-item[1].count, item[0]))
        for name, hits in order:
            yield (
                f"{hits.count:>9,}  {technique(name) or '-':<10} {word(hits.first):<23}"
                f"  {word(hits.last):<23} {len(hits.hosts):>8}  {word(_named(name))}"
            )
            images = hits.images.most_common(_IMAGES)
            yield " " * 11 + ", ".join(f"{n:,} {word(i or '-')}" for i, n in images)


def _named(name: str) -> str:
    found = technique(name)
    return short_rule(name).removeprefix(found).strip() or name if found else name
