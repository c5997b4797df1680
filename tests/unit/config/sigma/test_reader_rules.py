# SPDX-License-Identifier: MIT
"""Each rule of Sigma becomes what it says, or is refused with line and reason."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest

pytest.importorskip("sigma.rule", reason="pySigma is not installed")

from sysmonlx.config.sigma.notes import Kind
from sysmonlx.config.sigma.reader import RulesRead, read_rules
from sysmonlx.rules.sigma.pack import dump, load

#: A folder of public rules, where there is one.
PUBLIC = os.environ.get("SYSMONLX_SIGMA_RULES", "")


def rule(detection: str, category: str = "process_creation", head: str = "") -> str:
    body = "".join(f"  {line}\n" for line in detection.splitlines())
    return (
        f"title: x\n{head}logsource: {{product: linux, category: {category}}}\n"
        f"detection:\n{body}"
    )


def read(*texts: str) -> RulesRead:
    return read_rules((f"{at}.yml", each.encode()) for at, each in enumerate(texts))


def expressions(found: RulesRead) -> list[Any]:
    assert [each.reason for each in found.notes if each.kind is Kind.REFUSED] == []
    return [without_origins(each["expression"]) for each in plain_rules(found)]


def without_origins(part: list[Any]) -> list[Any]:
    """Return an expression without the places that its tests are from."""
    if part[0] == "test":
        return part[:5]
    return [part[0], *map(without_origins, part[1:])]


def plain_rules(found: RulesRead) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = json.loads(json.dumps(dump(found.pack)))["rules"]
    return made


def expression(item: str, category: str = "process_creation") -> Any:
    (only,) = expressions(read(rule(f"s: {{{item}}}\ncondition: s", category)))
    return only


def asks(
    field: str, *atoms: list[str], negated: bool = False, every: bool = False
) -> list[object]:
    return ["test", field, negated, every, list(atoms)]


@pytest.mark.parametrize(
    ("item", "atoms"),
    [
        ("Image: /Bin/x", ["is", "/bin/x"]),
        ("Image|contains: X", ["contains", "x"]),
        ("Image|startswith: X", ["begin with", "x"]),
        ("Image|endswith: X", ["end with", "x"]),
        ("Image: '*x'", ["end with", "x"]),
        ("Image: 'x**'", ["begin with", "x"]),
        ("Image: 'A*b?c'", ["glob", "a*b?c"]),
        (r"Image: 'a\*b'", ["is", "a*b"]),
        (r"Image: 'a\*b*c'", ["glob", r"a\*b*c"]),
        ("Image|contains: 'a*b'", ["glob", "*a*b*"]),
        ("Image: ''", ["is", ""]),
        ("Image: null", ["missing", ""]),
        ("Image: []", ["missing", ""]),
        ("Image|exists: false", ["missing", ""]),
        ("Image|re: 'X.+$'", ["regex", "X.+$"]),
        ("Image|re|i: 'X'", ["regex", "(?i)X"]),
        ("Image|re|i|s: '(?m)X'", ["regex", "(?ims)X"]),
        ("Image|cased: X", ["cased is", "X"]),
        ("Image|contains|cased: X", ["cased contains", "X"]),
        ("Image|startswith|cased: X", ["cased begin with", "X"]),
        ("Image|endswith|cased: X", ["cased end with", "X"]),
        ("Image|cased: 'X.*Y'", ["regex", r"(?s)^X\..*Y$"]),
        ("ProcessId: 12", ["is", "12"]),
        ("ProcessId: true", ["is", "true"]),
        ("ProcessId|lt: 12", ["number less than", "12"]),
        ("ProcessId|lte: 1.5", ["number at most", "1.5"]),
        ("ProcessId|gt: -1", ["number more than", "-1"]),
        ("ProcessId|gte: 12", ["number at least", "12"]),
        ("Image|fieldref: ParentImage", ["same as", "ParentImage"]),
        ("Image|fieldref|startswith: ParentImage", ["same as", "ParentImage*"]),
        ("Image|fieldref|endswith: ParentImage", ["same as", "*ParentImage"]),
        ("CommandLine|base64|contains: foo", ["contains", "zm9v"]),
        ("CommandLine|wide|contains: a", ["contains", "a\0"]),
    ],
)
def test_value_becomes_one_question(item: str, atoms: list[str]) -> None:
    field = item.partition(":")[0].partition("|")[0]
    assert expression(item) == asks(field, atoms)


def test_networks_are_asked_of_addresses() -> None:
    asked = expression("DestinationIp|cidr: 10.0.0.0/8", "network_connection")
    assert asked == asks("DestinationIp", ["cidr", "10.0.0.0/8"])


def test_lists_are_any_or_all() -> None:
    two = [["contains", "a"], ["contains", "b"]]
    assert expression("Image|contains: [A, b]") == asks("Image", *two)
    asked = expression("Image|contains|all: [A, b]")
    assert asked == asks("Image", *two, every=True)
    asked = expression("Image|contains|neq: [A, b]")
    assert asked == asks("Image", *two, negated=True)


def test_variants_are_alternatives_also_where_all_values_are_needed() -> None:
    asked = expression("CommandLine|windash|contains|all: [' -a', x]")
    word, *parts = asked
    assert word == "all"
    assert parts[0] == asks("CommandLine", ["contains", "x"])
    assert len(parts[1][4]) == 5


def test_anything_at_all_is_what_is_not_missing() -> None:
    missing = ["missing", ""]
    assert expression("Image: '*'") == asks("Image", missing, negated=True)
    asked = expression("Image|exists: true")
    assert asked == asks("Image", missing, negated=True)
    asked = expression("Image: ['*', x]")
    assert asked == [
        "any",
        asks("Image", ["is", "x"]),
        asks("Image", missing, negated=True),
    ]


def test_one_hash_is_a_part_of_all() -> None:
    digits = "AB" * 16
    assert expression(f"md5: {digits}") == asks(
        "Hashes", ["contains", f"md5={digits.lower()}"]
    )
    asked = expression("sha256: null")
    assert asked == asks("Hashes", ["contains", "sha256="], negated=True)


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("not a1", ["test", "Image", True, False, [["is", "1"]]]),
        ("1 of a*", ["any", "a1", "a2"]),
        ("all of them", ["all", "a1", "a2", "b"]),
        ("a1 and not (a2 or b)", ["all", "a1", "-a2", "-b"]),
        ("not (a1 and not a2)", ["any", "-a1", "a2"]),
        ("not 1 of a*", ["all", "-a1", "-a2"]),
        ("a1 or a2 and b", ["any", "a1", ["all", "a2", "b"]]),
    ],
)
def test_condition_becomes_these_tests(condition: str, wanted: list[object]) -> None:
    named = {"a1": "1", "a2": "2", "b": "3"}

    def made(part: object) -> object:
        if isinstance(part, list):
            return part if part[0] == "test" else [part[0], *map(made, part[1:])]
        value = named[str(part).lstrip("-")]
        return asks("Image", ["is", value], negated=str(part).startswith("-"))

    detection = "".join(f"{k}: {{Image: '{v}'}}\n" for k, v in named.items())
    (only,) = expressions(read(rule(f"{detection}condition: {condition}")))
    assert only == made(wanted)


@pytest.mark.parametrize(
    ("detection", "line", "reason"),
    [
        ("s:\n  Imagee: x\ncondition: s", 5, "did you mean Image?"),
        ("s:\n  Image: x\n  User|foo: x\ncondition: s", 6, "Unknown modifier 'foo'"),
        ("s: {Image: x}\ncondition: t", 5, "no detection 't'"),
        ("s: {Image: x}\ncondition: 1 of t*", 5, "no such detection"),
        ("s: {Image: x}\ncondition: s and", 5, "Expected"),
        ("s: {Image: x}\ncondition: s | count() > 3", 5, "pipe"),
        ("s:\n- foo\ncondition: s", 5, "keywords"),
        ("s:\n  Image|expand: '%a%'\ncondition: s", 5, "placeholder"),
        ("s:\n  UtcTime|hour: 3\ncondition: s", 5, "parts of times"),
        ("s:\n  Image|re: '(?=a)'\ncondition: s", 5, "invalid"),
        (
            r"s:\n  Image|re: '(a)\1'".replace("\\n", "\n") + "\ncondition: s",
            5,
            "inval",
        ),
        ("s:\n  User: x\n  md5: x\ncondition: s", 6, "32 digits"),
        ("s:\n  Computer: x\ncondition: s", 5, "leave it out"),
        ("s:\n  RuleName: x\ncondition: s", 5, "not known yet"),
        ("s: {Image: x}\ns: {Image: x}\ncondition: s", 5, "given twice"),
        ("s: {1: x}\ncondition: s", 4, "no text"),
        ("s: {Image: x}\ncondition: not (s and not s)", 0, ""),
        ("s: {EventID: 5}\ncondition: s", 1, "no event"),
        ("s: {EventID: 1}\ncondition: s", 1, "every event"),
        ("s: {Image: x}\ncondition: " + "(" * 20 + "s" + ")" * 20, 5, "nested"),
        ("s: {Image: x}\ncondition: " + "not " * 900 + "s", 1, "nested"),
        ("s: {Image: x}\n", 3, "condition"),
    ],
)
def test_refusal_has_its_line_and_reason(
    detection: str, line: int, reason: str
) -> None:
    found = read(rule(detection), rule("s: {Image: y}\ncondition: s"))
    assert found.pack.rules[-1].file == "1.yml"  # the others are used
    if not reason:
        assert len(found.pack.rules) == 2
        return
    (note,) = found.notes
    assert (note.kind, note.file, note.line) == (Kind.REFUSED, "0.yml", line)
    assert reason in note.reason
    assert "\n" not in note.text


@pytest.mark.parametrize(
    ("source", "events"),
    [
        ("category: file_delete", (23, 26)),
        ("category: process_creation, service: sysmon", (1,)),
        ("category: raw_access_thread", (9,)),
        ("category: process_creation, product: windows", None),
        ("category: process_creation, service: auditd", None),
        ("category: registry_set", None),
        ("product: linux", None),
    ],
)
def test_log_source_becomes_these_events(
    source: str, events: tuple[int, ...] | None
) -> None:
    text = "detection: {s: {Image: x}, condition: s}"
    found = read(f"title: x\nlogsource: {{{source}}}\n{text}\n")
    assert found.others == (events is None)
    assert [each.event_ids for each in found.pack.rules] == [events] * (
        not found.others
    )


def test_number_of_an_event_chooses_it() -> None:
    text = (
        "title: x\nlogsource: {service: sysmon}\ndetection:\n"
        "  s: {EventID: 11, TargetFilename|startswith: /etc/}\n  condition: s\n"
    )
    (found,) = read(text).pack.rules
    assert found.event_ids == (11,)


def test_facts_for_people_are_kept() -> None:
    head = (
        "id: 7A0E53D2-6a0c-4b0e-9a55-4c8d1f0b7d01\nlevel: high\nstatus: stable\n"
        "author: Me\nlicense: DRL-1.1\ndate: 2026-01-02\ntags: [attack.t1105]\n"
        "references: ['https://x.example']\n"
    )
    (found,) = read(rule("s: {Image: x}\ncondition: s", head=head)).pack.rules
    assert found.id == "7a0e53d2-6a0c-4b0e-9a55-4c8d1f0b7d01"
    assert (found.level, found.status, found.author) == ("high", "stable", "Me")
    assert (found.license, found.date) == ("DRL-1.1", "2026-01-02")
    assert found.tags == ("attack.t1105",)
    assert found.references == ("https://x.example",)


def test_rules_that_nobody_should_use_are_left_out() -> None:
    found = read(rule("s: {Image: x}\ncondition: s", head="status: deprecated\n"))
    assert found.pack.rules == ()
    assert [each.kind for each in found.notes] == [Kind.LEFT_OUT]


def test_second_rule_of_an_id_is_refused() -> None:
    head = "id: 7a0e53d2-6a0c-4b0e-9a55-4c8d1f0b7d01\n"
    text = rule("s: {Image: x}\ncondition: s", head=head)
    found = read(text, text)
    assert len(found.pack.rules) == 1
    (note,) = found.notes
    assert note.reason == "its id is that of 0.yml:1"


def test_wrong_facts_for_people_do_not_cost_a_detection() -> None:
    found = read(rule("s: {Image: x}\ncondition: s", head="date: yesterday\n"))
    assert len(found.pack.rules) == 1
    assert [(each.kind, each.line) for each in found.notes] == [(Kind.REMARK, 2)]


def test_filter_takes_from_the_rules_that_it_names() -> None:
    text = rule("s: {Image: x}\ncondition: s", head="name: one\n") + (
        "---\ntitle: not apt\n"
        "logsource: {product: linux, category: process_creation}\n"
        "filter: {rules: [one], apt: {User: root}, condition: not apt}\n"
    )
    (only,) = expressions(read(text))
    assert only == [
        "all",
        asks("Image", ["is", "x"]),
        asks("User", ["is", "root"], negated=True),
    ]


@pytest.mark.parametrize(
    ("item", "advice"),
    [
        ("Image|endswith: [/bash, /x.sh]", "ScriptPath|endswith: '/x.sh' asks for it"),
        ("Image: /opt/x.py", "ScriptPath: '/opt/x.py' asks for it"),
        ("Image: '/opt/*.pl'", "ScriptPath: '/opt/*.pl' asks for it"),
        ("Image|startswith: /opt/x.sh", ""),
        ("Image: /usr/bin/sh", ""),
        ("CommandLine|endswith: x.sh", ""),
    ],
)
def test_rule_for_the_program_of_a_script_is_told_what_asks_for_it(
    item: str, advice: str
) -> None:
    found = read(rule(f"s:\n  {item}\ncondition: s"))
    assert [advice in each.reason for each in found.notes] == [True] * bool(advice)
    assert all(each.kind is Kind.REMARK and each.line == 5 for each in found.notes)
    if advice:
        assert "where <sx:Fields> has ScriptPath" in found.notes[0].reason
        assert read(rule(f"s:\n  {item}\ncondition: not s")).notes == []
        (other,) = read(
            rule(f"s:\n  {item}\ncondition: s", category="file_event")
        ).notes
        assert "ScriptPath" not in other.reason


def test_correlation_names_rules_and_aliases_by_id() -> None:
    text = "---\n".join(
        rule("s: {Image: x}\ncondition: s", head=f"name: {name}\n")
        for name in ("one", "two")
    ) + (
        "---\ntitle: both\ncorrelation:\n  type: temporal_ordered\n"
        "  rules: [one, two]\n  group-by: [Lineage, File]\n"
        "  aliases: {File: {one: Image, two: Program}}\n  timespan: 10m\n"
    )
    found = read(text)
    assert found.notes == []
    (both,) = found.pack.correlations
    assert (both.rules, both.timespan_s) == (("one", "two"), 600)
    assert load(json.loads(json.dumps(dump(found.pack)))) == found.pack


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("type: event_count\n  condition: {gte: 3}", "a SIEM"),
        ("type: temporal\n  group-by: [Imagee]", "no field"),
        ("type: temporal\n  condition: {gte: 1}", "other than that all"),
        ("type: temporal", ""),
    ],
)
def test_correlation_that_the_sensor_does_not_do(body: str, reason: str) -> None:
    text = "---\n".join(
        rule("s: {Image: x}\ncondition: s", head=f"name: {name}\n")
        for name in ("one", "two")
    )
    text += f"---\ntitle: both\ncorrelation:\n  {body}\n"
    found = read(text + "  rules: [one, two]\n  timespan: 10m\n")
    assert [reason in each.reason for each in found.notes] == [True] * bool(reason)
    found = read(text + "  rules: [one, three]\n  timespan: 10m\n")
    assert "both" in [each.title for each in found.notes]


@pytest.mark.parametrize(
    "data",
    [
        b"[" * (1 << 20),
        b"{a: " * (1 << 18),
        b"a:\n" + b"- x\n" * 200_000,
        b"a: &a [*a]",
        b"a: &a [x]\n" + b"".join(b"k%d: &k%d [*a, *a]\n" % (n, n) for n in range(80)),
        b"k0: &k0 {v: 1}\n"
        + b"".join(
            b"k%d: &k%d {<<: [*k%d, *k%d]}\n" % (n, n, n - 1, n - 1)
            for n in range(1, 20)
        ),
        b"a: !!python/object/apply:os.system [id]",
        b"a: " + b"9" * 10_000,
        b"a: " + b"1:" * 20_000 + b"1",
        b"a: \0",
        b"a: \xff",
        b"- a",
        b"x" * ((1 << 20) + 1),
    ],
    ids=range(13),
)
def test_hostile_file_is_refused_at_once(data: bytes) -> None:
    found = read_rules(
        [("a.yml", data), ("b.yml", rule("s: {Image: y}\ncondition: s").encode())]
    )
    assert [each.kind for each in found.notes] == [Kind.REFUSED]
    assert len(found.pack.rules) == 1


def test_mangled_rules_are_used_or_refused() -> None:
    random = Random(3)
    text = rule(
        "a:\n  Image|endswith: [/x, /y]\n  CommandLine|re|i: 'a.*b'\nb: {User: root}\n"
        "condition: a and not 1 of b*",
        head="tags: [attack.t1105]\nlevel: high\n",
    )
    for _ in range(150):
        at, size = random.randrange(len(text)), random.randrange(4)
        more = "".join(random.choices(":[]{}|-*& \n'x1", k=random.randrange(4)))
        found = read(text[:at] + more + text[at + size :])
        assert found.pack.rules or found.notes or found.others


@pytest.mark.skipif(not PUBLIC, reason="SYSMONLX_SIGMA_RULES names no folder of rules")
def test_public_rules_are_used_or_refused_by_name() -> None:
    paths = sorted(Path(PUBLIC).rglob("*.yml"))
    found = read_rules((str(each), each.read_bytes()) for each in paths)
    refused = [each for each in found.notes if each.kind is not Kind.REMARK]
    assert paths
    assert len(found.pack.rules) + len(refused) + found.others == len(paths)
    assert all(each.line and each.reason and each.title for each in refused)
    assert load(json.loads(json.dumps(dump(found.pack)))) == found.pack
