# SPDX-License-Identifier: MIT
"""Sigma rules in the words of Sysmon's conditions, for the kernel: never too narrow.

The kernel discards an event only where it is certain that no rule wants it. A rule is
therefore written as an expression that holds wherever the rule does, and maybe
elsewhere; user space asks the rule itself. What has no such words counts as true.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network

from sysmonlx.rules.clauses import (
    TRUE,
    Clause,
    Decision,
    Expression,
    Junction,
    simplify,
    specialise,
)
from sysmonlx.rules.conditions import Atom, Operation, Test
from sysmonlx.rules.sigma.forms import RuleInForce
from sysmonlx.rules.sigma.guards import needed
from sysmonlx.rules.sigma.questions import MISSING_VALUE

_SAME = (Operation.IS, Operation.CONTAINS, Operation.BEGIN, Operation.END)

#: A network is not taken apart into more beginnings of addresses.
_PREFIXES = 64


def with_rules(
    decision: Decision, excludes: Sequence[Clause], rules: Iterable[RuleInForce]
) -> Decision:
    """Return the decision by which the kernel discards, with the rules of an event.

    Args:
        decision: Of Sysmon's rules.
        excludes: All exclude clauses of these, the needless ones too.
        rules: Those that have the event reported, whatever else or unless excluded.
    """
    wide = [(each, wider(each.rule.expression)) for each in rules]
    if not wide or (decision.include_by_default and not excludes):
        return decision  # where nothing is excluded, rules report nothing more
    never = [opposite(wider) for each, wider in wide if each.action == "always"]
    left = [
        replace(each, condition=Junction(True, (each.condition, *never)))
        for each in excludes
    ]
    wanted = [Clause(wider, include=True) for _, wider in wide]
    includes = [each for each in decision.clauses if each.include]
    clauses = (*left, *wanted, *includes)
    return specialise(replace(decision, clauses=clauses), lambda test: None)


def opposite(part: Expression) -> Expression:
    """Return what holds wherever an expression of Sysmon's words does not."""
    if isinstance(part, Test):
        return replace(part, negated=not part.negated)
    return Junction(not part.need_all, tuple(map(opposite, part.parts)))


def wider(part: Expression) -> Expression:
    """Return an expression of Sysmon's words that holds wherever a Sigma one does."""
    return simplify(_wider(part), lambda test: None)


def _wider(part: Expression) -> Expression:
    if isinstance(part, Junction):
        return Junction(part.need_all, tuple(map(_wider, part.parts)))
    if not part.atoms:
        return part
    return _denial(part) if part.negated else _assertion(part)


def _assertion(test: Test) -> Expression:
    each = [_any_of(atom) for atom in test.atoms]
    if test.need_all:
        known = [Test(test.field, atoms) for atoms in each if atoms]
        return Junction(True, tuple(known))
    if not all(each):
        return TRUE
    return Test(test.field, tuple(atom for atoms in each for atom in atoms))


def _denial(test: Test) -> Expression:
    """Return the same with what cannot be told exactly left out."""
    each = [_exactly(atom) for atom in test.atoms]
    if not test.need_all:
        atoms = tuple(atom for atoms in each for atom in atoms)
        return Test(test.field, atoms, negated=True) if atoms else TRUE
    if not all(each):
        return TRUE
    parts = (Test(test.field, atoms, negated=True) for atoms in each)
    return Junction(False, tuple(parts))


def _any_of(atom: Atom) -> tuple[Atom, ...]:
    """Return atoms such that, wherever `atom` is true, at least one of them is.

    The result is empty where no such atoms are known.
    """
    if atom.operation is Operation.CIDR:
        return prefixes(atom)
    found = needed(atom)
    return (found,) if found is not None else ()


def _exactly(atom: Atom) -> tuple[Atom, ...]:
    """Return atoms of which at least one is true exactly where `atom` is true.

    The result is empty where no such atoms are known. A field without a value has the
    text "-" in an event, and a condition of Sysmon may be true of that text.
    """
    if atom.operation is Operation.CIDR:
        return prefixes(atom)
    if atom.operation is Operation.MISSING:
        return (Atom(Operation.IS, MISSING_VALUE),)
    is_plain = atom.operation in _SAME and atom.operand not in ("", MISSING_VALUE)
    return (atom,) if is_plain else ()


def prefixes(atom: Atom) -> tuple[Atom, ...]:
    """Return how exactly the addresses of a network begin, as events show them.

    Those of IPv6 are shown with all eight groups, each without leading zeros.
    """
    network = ip_network(atom.operand, strict=False)
    size = 8 if network.version == 4 else 16
    parts = -(-network.prefixlen // size)
    if not parts or 1 << (size * parts - network.prefixlen) > _PREFIXES:
        return ()
    subnets = network.subnets(new_prefix=size * parts)
    return tuple(_beginning(each.network_address, parts) for each in subnets)


def _beginning(address: IPv4Address | IPv6Address, parts: int) -> Atom:
    """Return the atom of addresses that have the first octets or groups of one."""
    if address.version == 4:
        texts, mark = str(address).split("."), "."
    else:
        groups = address.exploded.split(":")
        texts, mark = [f"{int(group, 16):x}" for group in groups], ":"
    if parts == len(texts):
        return Atom(Operation.IS, mark.join(texts))
    return Atom(Operation.BEGIN, mark.join(texts[:parts]) + mark)
