# SPDX-License-Identifier: MIT
"""Conditions on names of hosts that are never met, or that mislead.

SourceHostname and DestinationHostname are learnt from the answers of name servers, and
only where DnsLookup is on. They look as QueryName does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address

from sysmonlx.policy import Settings
from sysmonlx.rules.conditions import Atom, Operation, Test, passes

HOSTS = frozenset({"SourceHostname", "DestinationHostname"})
NAMES = HOSTS | {"QueryName"}

_UNKNOWN = "-"

#: Characters that names do not show as themselves.
_SPELT = re.compile(r"[^!-~]|;")


def outcome_without_names(test: Test, settings: Settings) -> tuple[bool, str] | None:
    """Return whether a test of a host's name passes while DnsLookup is off, and why.

    The result is None for other tests, and where DnsLookup is on.
    """
    if test.field not in HOSTS or settings.dns_lookup:
        return None
    why = f"{test.field} is always {_UNKNOWN} while DnsLookup is off"
    return passes(test, _UNKNOWN), why


def no_name(atom: Atom, field: str) -> Iterator[str]:
    """Yield the reasons why no name in such a field can ever satisfy an atom."""
    ends = atom.operation in (Operation.IS, Operation.END)
    if (found := _SPELT.search(atom.operand)) is not None:
        shown = "".join(f"\\{byte:03d}" for byte in found.group().encode())
        yield f"in a name {found.group()!r} shows as {shown}"
    if ends and atom.operand.endswith(".") and atom.operand != ".":
        yield "names show without their last dot"
    if field in HOSTS and ".." in atom.operand:
        yield "no name has two dots side by side"


def odd_name(test: Test) -> Iterator[str]:
    """Yield why values of a test are no names that a name server answers for."""
    if test.field not in HOSTS:
        return
    whole = [each.operand for each in test.atoms if each.operation is Operation.IS]
    if any(map(_is_address, whole)):
        yield f"addresses stand in {test.field.replace('Hostname', 'Ip')}"
    elif any("." not in each and each != _UNKNOWN for each in whole):
        yield "names of /etc/hosts are not known, only those that name servers have"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
