# SPDX-License-Identifier: MIT
"""Packs of Sigma rules as files, and in rules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from sysmonlx.policy import RULE_NAMES, Element, PackFile, Ruleset
from sysmonlx.rules.clauses import Expression, Junction
from sysmonlx.rules.conditions import Atom, Operation, Test
from sysmonlx.rules.sigma.pack import Correlation, Head, Pack, SigmaRule, dump

NO_ALIASES: dict[str, dict[str, str]] = {}


def text_of(rules: Iterable[Head]) -> str:
    """Return a pack of rules and correlations as the text of its file."""
    each = [*rules]
    single = tuple(one for one in each if isinstance(one, SigmaRule))
    joined = tuple(one for one in each if isinstance(one, Correlation))
    return json.dumps(dump(Pack(single, joined)))


def write_pack(path: Path, *rules: Head) -> Path:
    """Write a pack that nobody else may write."""
    path.write_text(text_of(rules))
    path.chmod(0o644)
    return path


def ruleset_with(
    rules: Iterable[Head],
    action: str,
    elements: tuple[Element, ...] = (),
    level: str = "informational",
    status: str = "experimental",
    appended: tuple[str, ...] = (),
) -> Ruleset:
    """Return rules with one pack, as a policy has them after it was read."""
    text = text_of(rules)
    digest = hashlib.sha256(text.encode()).hexdigest()
    pack = PackFile(("/x.sigma.json", action, level, status), digest, text)
    return Ruleset("4.90", elements, (*appended, RULE_NAMES), (pack,))


def asks(field: str, operation: Operation, *operands: str) -> Test:
    """Return a test: one of these is true of a field."""
    return Test(field, tuple(Atom(operation, each) for each in operands))


def rule(
    title: str,
    *tests: Expression,
    event_id: int = 1,
    level: str = "high",
    tags: tuple[str, ...] = (),
) -> SigmaRule:
    """Return a rule that is true where all tests are."""
    return SigmaRule(
        id=title,
        title=title,
        level=level,
        tags=tags,
        event_ids=(event_id,),
        expression=Junction(True, tests),
    )


def correlation(
    title: str,
    *rules: SigmaRule,
    by: tuple[str, ...] = (),
    kind: str = "temporal_ordered",
    span_s: int = 60,
    level: str = "high",
    tags: tuple[str, ...] = (),
    aliases: dict[str, dict[str, str]] = NO_ALIASES,
    generate: bool = False,
) -> Correlation:
    """Return a correlation of rules."""
    return Correlation(
        id=title,
        title=title,
        level=level,
        tags=tags,
        type=kind,
        rules=tuple(each.id for each in rules),
        group_by=by,
        aliases=tuple((name, tuple(of.items())) for name, of in aliases.items()),
        timespan_s=span_s,
        generate=generate,
    )
