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
from sysmonlx.rules.sigma.pack import Head, SigmaRule


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
    """Yield the facts about each rule and correlation, an object a line."""
    for rule in reading.pack.rules:
        more = {"event_ids": rule.event_ids, "asked": _asked(rule)}
        yield json.dumps({**_facts(rule), **more}, ensure_ascii=False)
    for each in reading.pack.correlations:
        of_correlation = {
            "type": each.type,
            "rules": each.rules,
            "group_by": each.group_by,
            "timespan_s": each.timespan_s,
        }
        yield json.dumps({**_facts(each), **of_correlation}, ensure_ascii=False)


def _facts(head: Head) -> dict[str, object]:
    return {
        "id": head.id,
        "title": head.title,
        "level": head.level,
        "status": head.status,
        "author": head.author,
        "license": head.license,
        "date": head.date,
        "references": head.references,
        "tags": head.tags,
        "name": name_of(head),
        "file": head.file,
        "line": head.line,
    }
