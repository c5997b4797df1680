# SPDX-License-Identifier: MIT
"""The rules that come with the program, by the names of their files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TypeAlias

from sysmonlx.rules.clauses import Expression, Junction
from sysmonlx.rules.sigma.explain import holds
from sysmonlx.rules.sigma.pack import Correlation, Head, SigmaRule, load
from sysmonlx.schema.events import EVENT_BY_ID

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "config_schema" / "rules"
PACK = ROOT / "config_schema" / "shipped.sigma.json"
#: For each rule an event that it hits and one that it does not, as recorded.
RECORDED = ROOT / "tests" / "data" / "rule_events.json"

Values: TypeAlias = dict[str, str]
"""Field names to texts, with "EventID"."""

#: They differ from run to run, and no rule asks for them.
_OF_ONE_RUN = ("UtcTime", "Guid", "GUID", "Id", "Port", "RuleName", "Hashes")


@cache
def shipped() -> dict[str, SigmaRule]:
    """Return the rules of the pack."""
    pack = load(json.loads(PACK.read_text("utf-8")))
    return {Path(each.file).stem: each for each in pack.rules}


@cache
def correlations() -> dict[str, Correlation]:
    """Return the correlations of the pack."""
    pack = load(json.loads(PACK.read_text("utf-8")))
    return {Path(each.file).stem: each for each in pack.correlations}


@cache
def that_name() -> dict[str, Head]:
    """Return what names events: correlations, and rules that are no step of them."""
    steps = {rule_id for each in correlations().values() for rule_id in each.rules}
    rules = {name: each for name, each in shipped().items() if each.id not in steps}
    return {**rules, **correlations()}


def title_in_hits(rule: Head) -> str:
    """Return how the name of a hit of the rule begins."""
    return f"sigma={rule.title.replace(',', ';')},"


def is_hit(rule: SigmaRule, values: Mapping[str, str]) -> bool:
    """Tell whether an event is a hit of a rule, in the plain way."""
    event_id = int(values["EventID"])
    return event_id in rule.event_ids and holds(rule.expression, whole(values))


def whole(values: Mapping[str, str]) -> Values:
    """Return the values of all fields of an event; what was not recorded is "-"."""
    names = (field.name for field in EVENT_BY_ID[int(values["EventID"])].fields)
    return {name: values.get(name, "-") for name in names}


def true_parts(part: Expression, values: Mapping[str, str]) -> int:
    """Return how many tests of a rule are true of an event."""
    if isinstance(part, Junction):
        return sum(true_parts(each, values) for each in part.parts)
    return holds(part, values)


def kept(values: Mapping[str, str]) -> Values:
    """Return what is recorded of an event: what is the same in each run."""
    asked = {"DestinationPort", "EventID"}
    return {
        name: text
        for name, text in values.items()
        if name in asked or not (text == "-" or name.endswith(_OF_ONE_RUN))
        if name not in ("EventRecordID", "RuleNames")
    }
