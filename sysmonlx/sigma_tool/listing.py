# SPDX-License-Identifier: MIT
"""Rules as a list for people, and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sysmonlx.config.sigma.child import Reading
from sysmonlx.output.escape import visible
from sysmonlx.rules.sigma.forms import why_not
from sysmonlx.rules.sigma.guards import Guards
from sysmonlx.rules.sigma.names import name_of
from sysmonlx.rules.sigma.pack import SigmaRule


def lines(reading: Reading) -> Iterator[str]:
    """Yield a line a rule: level, events, how it is asked, title and place."""
    for rule in reading.pack.rules:
        events = ",".join(map(str, rule.event_ids))
        title = visible(" ".join(rule.title.split()))
        place = visible(f"{rule.file}:{rule.line}")
        yield f"{rule.level}\t{events}\t{_asked(rule)}\t{title}\t{place}"
    for each in reading.pack.correlations:
        title = visible(" ".join(each.title.split()))
        yield f"{each.level}\t-\t{each.type}\t{title}\t{each.file}:{each.line}"


def _asked(rule: SigmaRule) -> str:
    """Return `guard` where few events get as far as the rule itself, or why none do."""
    if why_not(rule):
        return "needs google-re2"
    return "guard" if Guards((), ()).of(rule.expression) else "always"


def as_json(reading: Reading) -> Iterator[str]:
    """Yield the facts about each rule, an object a line."""
    for rule in reading.pack.rules:
        yield json.dumps(
            {
                "id": rule.id,
                "title": rule.title,
                "level": rule.level,
                "status": rule.status,
                "event_ids": rule.event_ids,
                "asked": _asked(rule),
                "author": rule.author,
                "license": rule.license,
                "date": rule.date,
                "references": rule.references,
                "tags": rule.tags,
                "name": name_of(rule),
                "file": rule.file,
                "line": rule.line,
            },
            ensure_ascii=False,
        )
