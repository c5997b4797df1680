# SPDX-License-Identifier: MIT
r"""A pack: Sigma rules compiled to plain data, which need neither YAML nor pySigma.

`load` reads what `dump` makes, with distrust. What it does not know refuses the pack as
a whole: a rule without one of its tests would mean something else.

The value `-` is the missing field: each atom but MISSING is false of it. An operand is

* of `is`, `contains`, `begin with` and `end with` a folded text; with `cased` any text;
* of `glob` a folded pattern of the whole text: `*` is any characters, also none, `?` is
  one character, and `\` makes the `*`, `?` or `\` behind it an ordinary character;
* of `regex` an expression in RE2's words, searched for in the text as it is; flags
  stand in front of it, as `(?im)`;
* of `cidr` a network as `10.0.0.0/8` or `fe80::/10`;
* of the comparisons of numbers a number in decimal digits, maybe negative, maybe with a
  fraction;
* of `same as` a field of the same event, whose folded text is compared. `Field*` is a
  text that begins with it, `*Field` one that ends with it, `*Field*` one that has it;
* of `missing` empty.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_network
from typing import TypeAlias

from sysmonlx.rules.clauses import Expression, Junction
from sysmonlx.rules.conditions import Atom, Operation, Test, fold
from sysmonlx.rules.sigma.distrust import (
    LIST_LIMIT,
    boolean_of,
    list_of,
    number_of,
    object_of,
    one_of,
    text_of,
    texts_of,
)
from sysmonlx.rules.sigma.distrust import PackError as PackError
from sysmonlx.schema.events import EVENT_BY_ID

#: The number changes whenever the same pack means something else than before, or what
#: reads packs does not know all of it: 2 has correlations that are carried out, and
#: rules about fields of sysmonlx's own. What a pack of format 1 has means the same.
FORMAT, OLDER_FORMATS = 2, (1,)

RULES_LIMIT = 4096
TESTS_LIMIT = 65_536
ATOMS_LIMIT = 262_144
DEPTH_LIMIT = 64

#: From the least severe to the severest.
LEVELS = ("informational", "low", "medium", "high", "critical")
#: From the least proved to the best proved.
STATUSES = ("experimental", "test", "stable")
CORRELATION_TYPES = ("temporal", "temporal_ordered")
#: Names by which a correlation may group that are no fields of an event.
PSEUDO_FIELDS = ("Lineage", "Ancestry", "Program")
TIMESPAN_LIMIT_S = 86_400

#: Operations that only Sysmon's conditions make.
_NOT_SIGMA = frozenset({Operation.LESS, Operation.MORE})
_OPERATIONS = {each.value: each for each in Operation if each not in _NOT_SIGMA}
_JUNCTIONS = {"all": True, "any": False}
_FOLDED = {
    *(Operation.IS, Operation.CONTAINS, Operation.BEGIN, Operation.END),
    Operation.GLOB,
}
_NUMBERS = {
    *(Operation.NUMBER_LT, Operation.NUMBER_LTE),
    *(Operation.NUMBER_GT, Operation.NUMBER_GTE),
}
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")

#: What JSON can hold.
Plain: TypeAlias = "str | int | bool | list[Plain] | dict[str, Plain]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Facts about a rule or a correlation, for people.

    `name` is the one by which correlations refer to it. `line` counts from 1.
    """

    id: str = ""
    title: str
    name: str = ""
    level: str = "low"
    status: str = "test"
    author: str = ""
    license: str = ""
    date: str = ""
    references: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SigmaRule(Head):
    """A rule, and what it asks of each of some events."""

    event_ids: tuple[int, ...]
    expression: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation(Head):
    """Rules whose hits belong together if they lie within a time.

    `rules` are ids of rules of the pack, in order. `aliases` maps a name of `group_by`
    to pairs: the id of a rule, and the field of its events. Without `generate` the
    rules name no events of their own.
    """

    type: str
    rules: tuple[str, ...]
    group_by: tuple[str, ...] = ()
    aliases: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    timespan_s: int
    generate: bool = False


@dataclass(frozen=True, slots=True)
class Pack:
    """All rules and correlations, in the order of the files."""

    rules: tuple[SigmaRule, ...] = field(default_factory=tuple)
    correlations: tuple[Correlation, ...] = field(default_factory=tuple)


def dump(pack: Pack) -> dict[str, Plain]:
    """Return a pack as data for JSON."""
    return {
        "format": FORMAT,
        "rules": [_plain_rule(each) for each in pack.rules],
        "correlations": [_plain_correlation(each) for each in pack.correlations],
    }


def _plain_head(head: Head) -> dict[str, Plain]:
    plain: dict[str, Plain] = {}
    for each in fields(Head):
        value = getattr(head, each.name)
        plain[each.name] = list(value) if isinstance(value, tuple) else value
    return plain


def _plain_rule(rule: SigmaRule) -> dict[str, Plain]:
    event_ids: list[Plain] = [*rule.event_ids]
    expression = plain_expression(rule.expression)
    return {**_plain_head(rule), "event_ids": event_ids, "expression": expression}


def _plain_correlation(each: Correlation) -> dict[str, Plain]:
    return {
        **_plain_head(each),
        "type": each.type,
        "rules": [*each.rules],
        "group_by": [*each.group_by],
        "aliases": {name: dict(pairs) for name, pairs in each.aliases},
        "timespan_s": each.timespan_s,
        "generate": each.generate,
    }


def plain_expression(part: Expression) -> list[Plain]:
    """Return an expression as `["all", ...]`, `["any", ...]` or `["test", ...]`.

    The last part of a test is its origin, "SELECTION, line N", where that is known.
    """
    if isinstance(part, Junction):
        word = "all" if part.need_all else "any"
        return [word, *map(plain_expression, part.parts)]
    atoms: list[Plain] = [[each.operation.value, each.operand] for each in part.atoms]
    origin: list[Plain] = [part.origin] if part.origin else []
    return ["test", part.field, part.negated, part.need_all, atoms, *origin]


def load(raw: object) -> Pack:
    """Return the pack that `dump` made plain.

    Raises:
        PackError: anything in it is not known, not of its type, or too much.
    """
    loader = _Loader()
    found = object_of(raw, {"format", "rules", "correlations"}, "the pack")
    number = found["format"]
    if type(number) is not int or number not in (FORMAT, *OLDER_FORMATS):
        raise PackError(f"format {number!r:.40} is not known: {FORMAT} is")
    rules = tuple(map(loader.rule, list_of(found["rules"], RULES_LIMIT, "rules")))
    plain = list_of(found["correlations"], RULES_LIMIT, "correlations")
    correlations = tuple(map(loader.correlation, plain))
    if len(rules) + len(correlations) > RULES_LIMIT:
        raise PackError(f"more than {RULES_LIMIT} rules")
    _check_ids(rules, correlations)
    return Pack(rules, correlations)


def _check_ids(
    rules: tuple[SigmaRule, ...], correlations: tuple[Correlation, ...]
) -> None:
    ids = [each.id for each in (*rules, *correlations) if each.id]
    if len(set(ids)) < len(ids):
        raise PackError("an id is given twice")
    known = {each.id: each for each in rules if each.id}
    for each in correlations:
        for rule_id in each.rules:
            if rule_id not in known:
                raise PackError(f"{each.title!r:.80} asks for a rule that is not there")
        _check_groups(each, known)


def _check_groups(each: Correlation, rules: Mapping[str, SigmaRule]) -> None:
    """Check that each name to group by is a field, or an alias of one, of each rule."""
    aliases = {name: dict(pairs) for name, pairs in each.aliases}
    for name in each.group_by:
        for rule_id in each.rules:
            wanted = aliases.get(name, {}).get(rule_id, name)
            if wanted == "Ancestry" != name:
                raise PackError("Ancestry has no alias: group by it itself")
            for event_id in rules[rule_id].event_ids:
                known = {*PSEUDO_FIELDS, *_fields_of(event_id)} - {"RuleName"}
                if wanted not in known:
                    raise PackError(f"{wanted!r:.80} is no field of event {event_id}")


class _Loader:
    """Counts tests and atoms of the whole pack."""

    def __init__(self) -> None:
        self._tests = self._atoms = 0

    def rule(self, raw: object) -> SigmaRule:
        names = {each.name for each in fields(SigmaRule)}
        found = object_of(raw, names, "a rule")
        head = _head(found)
        event_ids = tuple(map(_event_id, list_of(found["event_ids"], 64, "event_ids")))
        if not event_ids or len(set(event_ids)) < len(event_ids):
            raise PackError("event_ids: each event once, and at least one")
        known = frozenset.intersection(*map(_fields_of, event_ids))
        expression = self._expression(found["expression"], known, 0)
        return SigmaRule(**head, event_ids=event_ids, expression=expression)  # type: ignore[arg-type]  # checked by _head

    def correlation(self, raw: object) -> Correlation:
        names = {each.name for each in fields(Correlation)}
        found = object_of(raw, names, "a correlation")
        kind = one_of(CORRELATION_TYPES, found["type"], "type")
        rules = texts_of(found["rules"], "rules")
        most = 2 if kind == "temporal" else 4
        if not 2 <= len(rules) <= most or len(set(rules)) < len(rules):
            raise PackError(f"{kind} wants 2 to {most} different rules")
        return Correlation(
            **_head(found),  # type: ignore[arg-type]  # checked by _head
            type=kind,
            rules=rules,
            group_by=texts_of(found["group_by"], "group_by"),
            aliases=_aliases(found["aliases"]),
            timespan_s=number_of(
                found["timespan_s"], 1, TIMESPAN_LIMIT_S, "timespan_s"
            ),
            generate=boolean_of(found["generate"], "generate"),
        )

    def _expression(self, raw: object, known: Container[str], depth: int) -> Expression:
        if depth > DEPTH_LIMIT:
            raise PackError(f"an expression is nested deeper than {DEPTH_LIMIT}")
        word, *parts = list_of(raw, TESTS_LIMIT, "an expression") or [""]
        kind = text_of(word, "an expression")
        if kind in _JUNCTIONS:
            made = tuple(self._expression(each, known, depth + 1) for each in parts)
            return Junction(_JUNCTIONS[kind], made)
        has_origin = len(parts) == 5 and isinstance(parts[4], str)
        if kind != "test" or not (len(parts) == 4 or has_origin):
            raise PackError(f"{kind!r:.80} is no expression")
        return self._test(parts, known)

    def _test(self, parts: list[object], known: Container[str]) -> Test:
        name, negated, need_all, atoms, *origin = parts
        plain = list_of(atoms, ATOMS_LIMIT, "atoms")
        self._tests += 1
        self._atoms += len(plain)
        if self._tests > TESTS_LIMIT or self._atoms > ATOMS_LIMIT:
            raise PackError(f"more than {TESTS_LIMIT} tests, or {ATOMS_LIMIT} values")
        return Test(
            one_of(known, name, "field"),
            tuple(_atom(each, known) for each in plain),
            boolean_of(need_all, "need_all"),
            boolean_of(negated, "negated"),
            text_of(origin[0], "an origin") if origin else "",
        )


def _atom(raw: object, known: Container[str]) -> Atom:
    pair = list_of(raw, 2, "an atom")
    if len(pair) != 2:
        raise PackError("an atom is no pair of operation and operand")
    operation = _OPERATIONS[one_of(_OPERATIONS, pair[0], "operation")]
    operand = text_of(pair[1], "an operand")
    if operation is Operation.SAME_AS:
        one_of(known, operand.removeprefix("*").removesuffix("*"), "field")
    elif not _fits(operation, operand):
        raise PackError(f"{operand!r:.80} is no operand of {operation.value!r}")
    return Atom(operation, operand)


def _fits(operation: Operation, operand: str) -> bool:
    """Return whether an operand is in the form that its operation wants."""
    if operation in _FOLDED:
        return operand == fold(operand)
    if operation in _NUMBERS:
        return _NUMBER.fullmatch(operand) is not None
    if operation is Operation.CIDR:
        return _is_network(operand)
    return operation is not Operation.MISSING or not operand


def _is_network(operand: str) -> bool:
    try:
        return str(ip_network(operand)) == operand
    except ValueError:
        return False


def _head(found: Mapping[str, object]) -> dict[str, str | int | tuple[str, ...]]:
    """Return the arguments of `Head`, each of its type."""
    head: dict[str, str | int | tuple[str, ...]] = {}
    for each in fields(Head):
        value = found[each.name]
        if each.name in ("references", "tags"):
            head[each.name] = texts_of(value, each.name)
        elif each.name == "line":
            head[each.name] = number_of(value, 0, (1 << 31) - 1, each.name)
        else:
            head[each.name] = text_of(value, each.name)
    one_of(LEVELS, head["level"], "level")
    one_of(STATUSES, head["status"], "status")
    return head


def _aliases(raw: object) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    if type(raw) is not dict or len(raw) > LIST_LIMIT:
        raise PackError("aliases: an object is expected")
    return tuple((text_of(name, "aliases"), _pairs(each)) for name, each in raw.items())


def _pairs(raw: object) -> tuple[tuple[str, str], ...]:
    if type(raw) is not dict or len(raw) > LIST_LIMIT:
        raise PackError("aliases: an object is expected")
    return tuple((text_of(k, "aliases"), text_of(v, "aliases")) for k, v in raw.items())


def _event_id(raw: object) -> int:
    number = number_of(raw, 0, 65_535, "event_ids")
    if number not in EVENT_BY_ID:
        raise PackError(f"event {number} is not known")
    return number


def _fields_of(event_id: int) -> frozenset[str]:
    event = EVENT_BY_ID[event_id]
    return frozenset(each.name for each in (*event.fields, *event.askable))
