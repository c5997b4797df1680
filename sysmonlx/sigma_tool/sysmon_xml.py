# SPDX-License-Identifier: MIT
"""Rules of Sigma as a configuration of Sysmon: those alone that it can express exactly.

Sysmon knows no nested conditions, so a rule becomes several Rules of which any one has
to match: each joins filters. The text "-", which stands for a value that is missing, is
asked for where Sysmon's conditions would take it for a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import product
from math import prod
from typing import TypeAlias

from sysmonlx.rules.clauses import Expression
from sysmonlx.rules.conditions import Atom, Operation, Test
from sysmonlx.rules.sigma.kernel_form import prefixes
from sysmonlx.rules.sigma.names import name_of
from sysmonlx.rules.sigma.pack import LEVELS, Pack, SigmaRule
from sysmonlx.rules.sigma.questions import MISSING_VALUE
from sysmonlx.schema.events import EVENT_BY_ID

#: A filter: field, condition, value.
_Filter: TypeAlias = tuple[str, str, str]
#: Alternatives; of each all filters have to match.
_Rules: TypeAlias = list[tuple[_Filter, ...]]

#: The most Rules that one rule may become.
MOST_RULES = 256
_WORDS = {
    Operation.IS: ("is", "is not"),
    Operation.CONTAINS: ("contains", "excludes"),
    Operation.BEGIN: ("begin with", "not begin with"),
    Operation.END: ("end with", "not end with"),
}
_LISTS = {Operation.IS: "is any", Operation.CONTAINS: "contains any"}
_REASONS = {
    Operation.REGEX: "regular expressions",
    Operation.GLOB: "wildcards within a value",
    Operation.CIDR: "networks of IPv6, or that are none of whole numbers",
    Operation.SAME_AS: "comparisons of two fields",
}
_HEAD = """\
<!-- Made by "sysmonlx-sigma xml". The rules have the licences of their authors. -->
<Sysmon schemaversion="4.90">
"""


class NoXmlError(ValueError):
    """A rule that Sysmon cannot ask exactly; the text says why."""


def xml_of(pack: Pack) -> tuple[str, list[tuple[SigmaRule, str]]]:
    """Return a configuration, and the rules that are not in it with the reasons."""
    steps = {i for c in pack.correlations if not c.generate for i in c.rules}
    refused: list[tuple[SigmaRule, str]] = []
    written: list[tuple[SigmaRule, list[str]]] = []
    for rule in pack.rules:
        try:
            if rule.id in steps:
                raise NoXmlError("it is but a step of a correlation")
            written.append((rule, [*_group(rule)]))
        except NoXmlError as error:
            refused.append((rule, str(error)))
    written.sort(key=lambda each: LEVELS.index(each[0].level))
    lines = [line for _, group in written for line in group]
    hashes = any("<Hashes " in line for line in lines)
    head = _HEAD + ("<HashAlgorithms>*</HashAlgorithms>\n" if hashes else "")
    body = "".join(f"{line}\n" for line in lines)
    text = f"{head}<EventFiltering>\n{body}</EventFiltering>\n</Sysmon>\n"
    return text, refused


def _group(rule: SigmaRule) -> Iterator[str]:
    """Yield the lines of a rule."""
    for event_id in rule.event_ids:
        known = {field.name for field in EVENT_BY_ID[event_id].fields}
        rules = [*dict.fromkeys(_rules(rule.expression, known))]
        if not rules:
            raise NoXmlError("it can match no event")
        if () in rules:
            raise NoXmlError("it matches every event")
        tag = EVENT_BY_ID[event_id].tag
        yield f"<!-- {_comment(rule)} -->"
        yield '<RuleGroup groupRelation="or">'
        yield f'<{tag} onmatch="include">'
        name = escape(_text(name_of(rule)))
        for filters in rules:
            yield f'<Rule name="{name}" groupRelation="and">'
            for field, condition, value in filters:
                text = escape(_text(value), quote=False)
                yield f'<{field} condition="{condition}">{text}</{field}>'
            yield "</Rule>"
        yield f"</{tag}>"
        yield "</RuleGroup>"


def _comment(rule: SigmaRule) -> str:
    """Return who made a rule, where, and under which licence."""
    facts = (rule.title, rule.id, rule.author, *rule.references[:1], rule.license)
    text = ", ".join(filter(None, facts))
    printable = "".join(each if each.isprintable() else " " for each in text)
    while "--" in printable:
        printable = printable.replace("--", "- -")
    return printable.rstrip("-")


def _text(text: str) -> str:
    if not all(each.isprintable() or each == "\u00a0" for each in text):
        raise NoXmlError("a value has characters that XML has not")
    return text


def _rules(part: Expression, known: set[str]) -> _Rules:
    """Return an expression as alternatives."""
    if isinstance(part, Test):
        if part.field not in known:
            raise NoXmlError(f"{part.field} is no field of Sysmon's")
        return _of_test(part)
    found = [_rules(each, known) for each in part.parts]
    return _all_of(found) if part.need_all else _any_of(found)


def _any_of(found: Sequence[_Rules]) -> _Rules:
    if sum(map(len, found)) > MOST_RULES:
        raise NoXmlError(f"it would be more than {MOST_RULES} Rules")
    return [filters for rules in found for filters in rules]


def _all_of(found: Sequence[_Rules]) -> _Rules:
    if prod(map(len, found)) > MOST_RULES:
        raise NoXmlError(f"it would be more than {MOST_RULES} Rules")
    return [
        tuple(dict.fromkeys(each for filters in chosen for each in filters))
        for chosen in product(*found)
    ]


def _of_test(test: Test) -> _Rules:
    is_any = test.need_all == test.negated
    listed = {} if test.negated or not is_any else _listed(test.atoms)
    rest = [each for each in test.atoms if each.operation not in listed]
    found = [_of_atom(test.field, each, negated=test.negated) for each in rest]
    lists: _Rules = []
    for operation, atoms in listed.items():
        values = [each for each in atoms if not _is_special(each.operand)]
        value = ";".join(each.operand for each in values)
        lists.append(((test.field, _LISTS[operation], value),))
        others = (each for each in atoms if _is_special(each.operand))
        found += [_of_atom(test.field, each, negated=False) for each in others]
    return _any_of([lists, *found]) if is_any else _all_of(found)


def _listed(atoms: Iterable[Atom]) -> dict[Operation, list[Atom]]:
    """Return the atoms of operations for which one filter can ask several values."""
    found: dict[Operation, list[Atom]] = {}
    for each in atoms:
        if each.operation in _LISTS:
            found.setdefault(each.operation, []).append(each)
    return {
        operation: each
        for operation, each in found.items()
        if sum(not _is_special(atom.operand) for atom in each) > 1
    }


def _is_special(value: str) -> bool:
    """Return whether a value has to be asked for by a filter of its own."""
    return ";" in value or value in ("", MISSING_VALUE)


def _of_atom(field: str, atom: Atom, *, negated: bool) -> _Rules:
    """Return one question as alternatives."""
    operation, value = atom.operation, atom.operand
    missing, present = (field, "is", MISSING_VALUE), (field, "is not", MISSING_VALUE)
    if operation is Operation.MISSING:
        return [(present,)] if negated else [(missing,)]
    if operation is Operation.CIDR and ":" not in value and prefixes(atom):
        each = [_of_atom(field, part, negated=negated) for part in prefixes(atom)]
        return _all_of(each) if negated else _any_of(each)
    if operation not in _WORDS:
        what = _REASONS.get(operation, f"'{operation.value}'")
        raise NoXmlError(f"Sysmon has no {what}")
    if value not in ("", MISSING_VALUE):
        return [((field, _WORDS[operation][negated], value),)]
    if operation is Operation.IS:  # a value that is there is neither "" nor "-"
        return [()] if negated else []
    if not value:
        return [(missing,)] if negated else [(present,)]
    yes, no = _WORDS[operation]
    if negated:
        return [((field, no, value),), (missing,)]
    return [((field, yes, value), present)]
