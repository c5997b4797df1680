# SPDX-License-Identifier: MIT
"""What rules match is what they match in pySigma's SQL, event by event.

The text columns of the table are compared without regard to case, and "-" is NULL.
Numbers are not compared here: in SQL they are texts. More pairs of a
rule and an event: SYSMONLX_SIGMA_PAIRS=100000.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

pytest.importorskip("sigma.backends.sqlite", reason="pySigma's SQL is not installed")

import re2  # type: ignore[import-untyped]  # it has none
from sigma.backends.sqlite.sqlite import sqliteBackend
from sigma.collection import SigmaCollection
from support import sigma

from sysmonlx.config.sigma.reader import read_rules
from sysmonlx.rules.sigma.forms import RuleInForce, judge_form, ordered
from sysmonlx.rules.sigma.judge import SigmaJudge
from sysmonlx.rules.sigma.pack import SigmaRule
from sysmonlx.schema.events import EVENT_BY_ID

PAIRS = int(os.environ.get("SYSMONLX_SIGMA_PAIRS", "3000"))
PUBLIC = os.environ.get("SYSMONLX_SIGMA_RULES", "")
EVENTS = 100
FIELDS = ("Image", "CommandLine", "User", "ParentImage", "ProcessId")
VALUES = (
    *("/bin/sh", "/usr/bin/wget", "root", "-c", "base64 -d", "/tmp/", "/dev/tcp/", "x"),
    *("wget", "a*c", "*sh", "/b?n/sh", r"a\*c", "12", "443", "é", "%", "_", "o''k"),
)
MODIFIERS = (
    *("", "|contains", "|startswith", "|endswith", "|contains|all", "|contains|neq"),
    *("|windash|contains", "|base64offset|contains", "|cased", "|contains|cased"),
)


def random_rule(random: Random, number: int) -> str:
    lines = [f"title: rule {number}", "logsource: {category: process_creation}"]
    lines.append("detection:")
    for name in ("a1", "a2", "b"):
        lines.append(f"  {name}:")
        for field in random.sample(FIELDS, random.randint(1, 2)):
            lines.append(f"    {_item(random, field)}")
    condition = random.choice(
        (
            *("1 of a*", "all of them", "a1 and not b", "not (a1 or a2)", "b"),
            *("a1 or a2 and not b", "not 1 of a* and b", "not (a1 and not b)"),
        )
    )
    return "\n".join([*lines, f"  condition: {condition}", ""])


def _item(random: Random, field: str) -> str:
    if random.random() < 0.15:
        special = ("|exists: true", "|exists: false", ": null", ": '*'", "|re: 'b.n/'")
        return f"{field}{random.choice((*special, '|re|i: SH$'))}"
    modifier = random.choice(MODIFIERS)
    words = random.sample(VALUES, random.randint(1, 3))
    if "base64" in modifier:
        words = [each for each in words if not set(each) & set("*?")] or ["x"]
    return f"{field}{modifier}: [{', '.join(repr_of(each) for each in words)}]"


def repr_of(word: str) -> str:
    return "'" + word.replace("''", "'").replace("'", "''") + "'"


def random_event(random: Random, words: Sequence[str]) -> dict[str, str]:
    found = {}
    for field in FIELDS:
        parts = random.choices(words, k=random.randint(1, 3))
        text = random.choice(("", " ")).join(parts)
        if random.random() < 0.2:
            text = "".join(c.upper() if c.isascii() else c for c in text)
        found[field] = "-" if random.random() < 0.1 else text.strip()
        if field == "ProcessId":
            found[field] = random.choice(("12", "443", "7", "100", "-"))
    return found


class Table:
    """Events as rows, asked in pySigma's SQL."""

    def __init__(self, events: Sequence[dict[str, str]]) -> None:
        self._db = sqlite3.connect(":memory:")
        self._db.create_function("REGEXP", 2, _found, deterministic=True)
        names = [field.name for field in EVENT_BY_ID[1].fields]
        columns = ", ".join(f"{each} TEXT COLLATE NOCASE" for each in names)
        self._db.execute(f"CREATE TABLE logs (number INTEGER, {columns})")
        marks = ", ".join("?" * (len(names) + 1))
        for number, event in enumerate(events):
            texts = [event.get(each, "-") for each in names]
            row = [number, *(None if each == "-" else each for each in texts)]
            self._db.execute(f"INSERT INTO logs VALUES ({marks})", row)

    def hits(self, text: str) -> set[int]:
        backend = sqliteBackend()  # type: ignore[no-untyped-call]  # not ours
        (query,) = backend.convert(SigmaCollection.from_yaml(text))
        where = re.sub(
            "^SELECT \\* FROM <TABLE_NAME>", "SELECT number FROM logs", query
        )
        return {row[0] for row in self._db.execute(where)}


def _found(pattern: str, text: str | None) -> bool | None:
    return None if text is None else re2.search(pattern, text) is not None


def judged(rule: SigmaRule, events: Sequence[dict[str, str]]) -> set[int]:
    mine = ordered([RuleInForce(rule, "tag")], 1)
    judge = SigmaJudge(judge_form(mine, EVENT_BY_ID[1].fields))
    names = [field.name for field in EVENT_BY_ID[1].fields]
    rows = ([event.get(each, "-") for each in names] for event in events)
    return {number for number, values in enumerate(rows) if judge.find(values)}


def compare(text: str, events: Sequence[dict[str, str]], table: Table) -> None:
    read = read_rules([("x.yml", text.encode())])
    refused = [each.reason for each in read.notes if each.kind.value == "refused"]
    if refused:
        assert refused[0] in ("it can match no event", "it matches every event"), text
        return
    (rule,) = read.pack.rules
    wanted = table.hits(text)
    assert judged(rule, events) == wanted, text
    names = [field.name for field in EVENT_BY_ID[1].fields]
    plain = [{each: event.get(each, "-") for each in names} for event in events]
    found = {n for n, each in enumerate(plain) if sigma.holds(rule.expression, each)}
    assert found == wanted, text


def test_random_rules_match_what_they_match_in_sql() -> None:
    random = Random(14)
    words = [each.replace("\\", "").replace("''", "'") for each in VALUES]
    for _ in range(max(1, PAIRS // EVENTS // 30)):
        events = [random_event(random, words) for _ in range(EVENTS)]
        table = Table(events)
        for number in range(30):
            compare(random_rule(random, number), events, table)


@pytest.mark.skipif(not PUBLIC, reason="SYSMONLX_SIGMA_RULES names no folder of rules")
def test_public_rules_match_what_they_match_in_sql() -> None:
    random = Random(15)
    texts = [
        each.read_text()
        for each in sorted(Path(PUBLIC).rglob("*.yml"))
        if "category: process_creation" in each.read_text()
    ]
    words = re.findall(r"^\s+- '(.*)'$|\w: '(.*)'$", "\n".join(texts), re.MULTILINE)
    values = sorted({(a or b).replace("*", "") for a, b in words})
    for _ in range(max(1, PAIRS // EVENTS // len(texts))):
        events = [random_event(random, values) for _ in range(EVENTS)]
        table = Table(events)
        for text in texts:
            compare(text, events, table)
