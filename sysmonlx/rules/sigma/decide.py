# SPDX-License-Identifier: MIT
"""Sysmon's rules decide what is reported; Sigma's name it, and may ask for more.

action   clauses of an event type in order
tag      Sysmon's; Sigma's rules are asked of what these report
include  Sysmon's that exclude, Sigma's, Sysmon's that include, the default
always   Sigma's, then Sysmon's
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sysmonlx.rules.sigma.judge import SEPARATOR, SigmaJudge

#: As `rules.verdicts.Decide`. The values are a list of which RuleNames is the last.
Decide = Callable[[Any], str | None]

_NO_NAME = "-"


def with_sigma(decide: Decide, excluded: Decide, judge: SigmaJudge) -> Decide:
    """Return the function that judges by all rules, and sets RuleNames.

    Args:
        decide: Judges by Sysmon's rules.
        excluded: Returns None where an exclude element matches.
        judge: Judges by Sigma's.
    """
    find, named = judge.find, _naming(judge)

    def tagged(values: list[str]) -> str | None:
        name = decide(values)
        if name is None:
            return None
        hits = find(values)
        return named(values, hits, name) if hits else name

    wanted, always = judge.include | judge.always, judge.always

    def reported(values: list[str]) -> str | None:
        name = decide(values)
        if name is not None:
            hits = find(values)
            return named(values, hits, name) if hits else name
        if not always and excluded(values) is None:
            return None
        hits = find(values)
        if not hits & always and (not hits & wanted or excluded(values) is None):
            return None
        return named(values, hits, _NO_NAME)

    return reported if wanted else tagged


def _naming(judge: SigmaJudge) -> Callable[[list[str], int, str], str]:
    """Return the function that sets RuleNames after some hits, and returns RuleName.

    It takes the name that Sysmon's rules give.
    """
    has_links = bool(judge.links)

    def named(values: list[str], hits: int, name: str) -> str:
        found = judge.name(hits)
        if has_links:
            judge.noted = hits, name
        if not found.severest:
            return name
        is_named = name != _NO_NAME
        values[-1] = f"{found.names}{SEPARATOR}{name}" if is_named else found.names
        return found.severest

    return named
