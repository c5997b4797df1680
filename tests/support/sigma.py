# SPDX-License-Identifier: MIT
"""Sigma rules judged the plain way, and made at random: the measure of the judge.

`holds` walks the expression as it stands, atom by atom, over the fields by name.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Callable, Mapping
from random import Random

from sysmonlx.rules.clauses import Expression, Junction
from sysmonlx.rules.conditions import Atom, Operation, Test
from sysmonlx.rules.sigma.pack import LEVELS, SigmaRule

_CAPITALS = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")

FIELDS = {
    1: ("Image", "CommandLine", "User", "ParentImage", "CurrentDirectory", "Company"),
    3: ("Image", "DestinationIp", "DestinationPort", "Initiated", "User"),
    11: ("Image", "TargetFilename", "User"),
}
_WORDS = (
    *("wget", "curl", "/bin/sh", "-", "", "/tmp/", "base64 -d", "/dev/tcp/", "http"),
    *("root", "/usr/bin/", "python3 -c", "/etc/cron.d/", "É", "a*b", "x?y", "\udcff"),
)
_ADDRESSES = (
    "10.1.2.3",
    "192.168.7.1",
    "fe80:0:0:0:0:0:0:1",
    "0:0:0:0:0:0:0:1",
    "8.8.8.8",
    "172.20.0.1",
)
_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "fe80::/10", "::1/128", "8.8.8.0/24")
_PORTS = ("22", "443", "4444", "-", "0x1f", "65535")
_PATTERNS = ("wget", "(?i)WGET", "^/bin", "sh$", "[0-9]+", "a.c", "x|y", "-")


def holds(part: Expression, values: Mapping[str, str]) -> bool:
    """Return whether an expression is true of an event."""
    if isinstance(part, Junction):
        answers = [holds(each, values) for each in part.parts]
        return all(answers) if part.need_all else any(answers)
    found = [_atom(each, values[part.field], values) for each in part.atoms]
    return (all(found) if part.need_all else any(found)) is not part.negated


def _atom(atom: Atom, text: str, values: Mapping[str, str]) -> bool:
    if text == "-":
        return atom.operation is Operation.MISSING
    operand, low = atom.operand, text.translate(_CAPITALS)
    match atom.operation.value.removeprefix("cased ").split():
        case ["same", "as"]:
            return _same(low, operand, values)
        case ["number", *words]:
            return _compared(_number(text), " ".join(words), float(operand))
    asked = text if atom.operation.value.startswith("cased") else low
    return _ANSWERS[atom.operation](asked, operand, text)


_ANSWERS: dict[Operation, Callable[[str, str, str], bool]] = {
    Operation.MISSING: lambda low, operand, text: False,
    Operation.GLOB: lambda low, operand, text: (
        re.fullmatch(_translated(operand), low, re.DOTALL) is not None
    ),
    Operation.REGEX: lambda low, operand, text: (
        re.search(operand.replace("$", r"\Z"), text, re.ASCII) is not None
    ),
    Operation.CIDR: lambda low, operand, text: _in_network(text, operand),
}
for _operation, _answer in {
    "IS": lambda asked, operand, text: asked == operand,
    "CONTAINS": lambda asked, operand, text: asked.find(operand) >= 0,
    "BEGIN": lambda asked, operand, text: asked[: len(operand)] == operand,
    "END": lambda asked, operand, text: (
        asked[max(0, len(asked) - len(operand)) :] == operand
    ),
}.items():
    _ANSWERS[Operation[_operation]] = _answer
    _ANSWERS[Operation[f"CASED_{_operation}"]] = _answer


def _same(low: str, operand: str, values: Mapping[str, str]) -> bool:
    other = values[operand.strip("*")]
    pattern = other.translate(_CAPITALS)
    pattern = re.sub(r"([*?[])", r"[\1]", pattern)
    shown = operand.replace(operand.strip("*"), pattern)
    return other != "-" and fnmatch.fnmatchcase(low, shown)


def _compared(number: float | None, words: str, bound: float) -> bool:
    if number is None:
        return False
    return {
        "less than": number < bound,
        "at most": number <= bound,
        "more than": number > bound,
        "at least": number >= bound,
    }[words]


def _translated(pattern: str) -> str:
    """Return an expression for a pattern; it may take long, which a test may."""
    out = ""
    while pattern:
        char, pattern = pattern[0], pattern[1:]
        if char == "\\" and pattern[:1] in ("*", "?", "\\") and pattern:
            out, pattern = out + re.escape(pattern[0]), pattern[1:]
        else:
            out += {"*": ".*", "?": "."}.get(char, re.escape(char))
    return out


def _in_network(text: str, operand: str) -> bool:
    try:
        return ipaddress.ip_address(text) in ipaddress.ip_network(operand)
    except ValueError:
        return False


def _number(text: str) -> float | None:
    try:
        return float(int(text, 16) if text.lower().startswith("0x") else float(text))
    except ValueError:
        return None


def random_rule(random: Random, number: int, event_id: int) -> SigmaRule:
    """Return a rule for one event; `number` makes its id and title."""
    return SigmaRule(
        id=f"{number}",
        title=f"rule {number}",
        level=random.choice(LEVELS),
        event_ids=(event_id,),
        expression=random_expression(random, event_id, 3),
    )


def random_expression(random: Random, event_id: int, depth: int) -> Expression:
    """Return an expression at random, nested to some depth at most."""
    if depth and random.random() < 0.7:
        parts = (
            random_expression(random, event_id, depth - 1)
            for _ in range(random.randint(1, 3))
        )
        return Junction(random.random() < 0.6, tuple(parts))
    field = random.choice(FIELDS[event_id])
    atoms = (_random_atom(random, event_id) for _ in range(random.randint(1, 3)))
    return Test(field, tuple(atoms), random.random() < 0.3, random.random() < 0.3)


def _random_atom(random: Random, event_id: int) -> Atom:
    operation = random.choice([o for o in Operation if o not in _SYSMON])
    word = random.choice(_WORDS)
    if operation is Operation.REGEX:
        word = random.choice(_PATTERNS)
    elif operation is Operation.CIDR:
        word = random.choice(_NETWORKS)
    elif operation.value.startswith("number"):
        word = random.choice(("443", "30", "-1", "1023.5"))
    elif operation is Operation.SAME_AS:
        word = random.choice(("{}", "{}*", "*{}", "*{}*"))
        word = word.format(random.choice(FIELDS[event_id]))
    elif operation is Operation.GLOB:
        word = "*".join(random.choice(_WORDS) for _ in range(random.randint(1, 3)))
        word = word.translate(_CAPITALS)
    elif operation is Operation.MISSING:
        word = ""
    elif not operation.value.startswith("cased"):
        word = word.translate(_CAPITALS)
    return Atom(operation, word)


_SYSMON = (Operation.LESS, Operation.MORE)


def random_texts(random: Random, event_id: int) -> dict[str, str]:
    """Return texts of the fields that random rules ask, made of the same words."""
    return {name: _random_text(random, name) for name in FIELDS[event_id]}


def _random_text(random: Random, name: str) -> str:
    if random.random() < 0.15:
        return "-"
    if name == "DestinationIp":
        return random.choice(_ADDRESSES)
    if name == "DestinationPort":
        return random.choice(_PORTS)
    text = random.choice((" ", "")).join(
        random.choice(_WORDS) for _ in range(random.randint(1, 4))
    )
    if random.random() < 0.2:
        text = text.upper()
    return text or "-"
