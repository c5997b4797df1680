# SPDX-License-Identifier: MIT
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from support import reference, strategies
from support.strategies import TAGS, examples, randoms

from sysmonlx.config.reader import read_policy
from sysmonlx.policy import Compound, Element, Filter, Ruleset
from sysmonlx.rules import text_index, verdicts
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.conditions import fold, make_test, order_key, passes, split_items
from sysmonlx.rules.explain import trace
from sysmonlx.rules.verdicts import rules_of
from sysmonlx.schema.conditions import CONDITIONS
from sysmonlx.schema.events import EVENT_BY_ID, EVENTS, FILE_CREATE

DATA = Path(__file__).parents[2] / "data"

TEXT = randoms().map(strategies.any_text) | randoms().map(strategies.text)

SOME_TAGS = ["ProcessCreate", "FileCreate", "NetworkConnect", "RegistryEvent"]


def values_of(event_id: int, **text: str) -> list[str]:
    return [text.get(f.name, "-") for f in EVENT_BY_ID[event_id].fields]


def file_create(*elements: Element) -> Ruleset:
    return Ruleset("4.90", elements)


def element(onmatch: str, relation: str, *items: Filter | Compound) -> Element:
    return Element("FileCreate", (11,), onmatch, relation, items, line=7)


def decided(ruleset: Ruleset, **text: str) -> str | None:
    return compile_rules(ruleset).match(11, values_of(11, **text))


@pytest.mark.parametrize(
    ("condition", "value", "text", "matches"),
    [
        ("is", "/BIN/sh", "/bin/SH", True),
        ("is", "É", "é", False),
        ("is", "", "-", False),
        ("is not", "a", "A", False),
        ("contains", "", "", True),
        ("contains", "b c", "ab cd", True),
        ("excludes", "", "x", False),
        ("begin with", "/ETC/", "/etc/passwd", True),
        ("not begin with", "", "x", False),
        ("end with", "sh", "/bin/sshd", False),
        ("not end with", "sh", "/bin/sshd", True),
        ("is any", "a;b", "B", True),
        ("is any", "a;;b", "", True),
        ("is any", "a;b", "a;b", False),
        ("contains any", "wget;curl", "curl -s x", True),
        ("contains any", "wget;", "ls", True),
        ("contains any", "wget;", "", False),
        ("contains any", "a;;b", "x;b", True),
        ("contains any", "a;;c", "x;b", False),
        ("contains all", "a;b", "b a", True),
        ("contains all", "a;b", "a", False),
        ("excludes any", "a;b", "b", False),
        ("excludes any", "a;b", "c", True),
        ("excludes all", "a;b", "b", True),
        ("excludes all", "a;b", "a b", False),
        ("less than", "1024", "9", False),
        ("less than", "1024", "102", True),
        ("less than", "_", "a", True),
        ("more than", "1024", "9", True),
        ("more than", "1024", "1024", False),
        ("more than", "\uffff", "😀", False),
        ("image", "sshd", "/usr/sbin/sshd", True),
        ("image", "sshd", r"C:\x\SSHD", True),
        ("image", "sbin/sshd", "/usr/sbin/sshd", False),
        ("image", "/usr/sbin/sshd", "/usr/sbin/sshd", True),
        ("image", r"x\sshd", r"C:\x\sshd", False),
        ("image", "ssh", "/usr/bin/openssh", False),
        ("image", "", "/usr/bin/", False),
    ],
)
def test_condition_is_true_of_these_values(
    condition: str, value: str, text: str, matches: bool
) -> None:
    assert reference.compare(condition, text, value) is matches
    assert passes(make_test("Image", condition, value), fold(text)) is matches
    rules = file_create(element("include", "or", Filter("Image", condition, value)))
    assert decided(rules, Image=text) == ("-" if matches else None)


VECTORS = json.loads((DATA / "rule_vectors.json").read_text())["cases"]


@pytest.mark.parametrize("case", VECTORS, ids=range(len(VECTORS)))
def test_decisions_and_names_are_sysmons(case: dict[str, Any]) -> None:
    policy, _ = read_policy(case["config"].encode(), "vector.xml", lax=True)
    compiled = compile_rules(policy.ruleset)
    for event in case["events"]:
        event_id = TAGS[event["event"]][0]
        name = event.get("rulename_without_leak", event["rulename"])
        expected = name if event["decision"] == "include" else None
        values = values_of(event_id, **event["fields"])
        assert reference.decide(policy.ruleset, event_id, event["fields"]) == expected
        assert compiled.match(event_id, values) == expected
        assert trace(policy.ruleset, event_id, values).name == expected


def test_every_condition_of_the_schema_is_known() -> None:
    assert set(CONDITIONS) == set(reference.CONDITIONS)
    for condition in CONDITIONS:
        make_test("Image", condition, "x")


@given(randoms())
@examples(100)
def test_a_condition_taken_apart_means_the_same(chance: Random) -> None:
    for condition in CONDITIONS:
        value, text = strategies.value(chance), strategies.text(chance)
        expected = reference.compare(condition, text, value)
        assert passes(make_test("Image", condition, value), fold(text)) is expected


@given(randoms())
def test_lists_are_split_alike(chance: Random) -> None:
    value = strategies.value(chance, ["a", ";", "é"])
    assert split_items(value) == reference.items(value)


@given(TEXT, TEXT)
def test_order_is_that_of_upper_cased_utf16(one: str, other: str) -> None:
    expected = reference.utf16(one) < reference.utf16(other)
    assert (order_key(one) < order_key(other)) is expected


@given(TEXT)
def test_only_ascii_letters_are_folded(text: str) -> None:
    assert fold(text) == text.translate(reference.LOWER)


@given(randoms())
@examples(300)
def test_compiled_rules_decide_as_the_reference(chance: Random) -> None:
    event_ids = TAGS[chance.choice(SOME_TAGS)]
    ruleset = strategies.ruleset(chance, event_ids)
    compiled = compile_rules(ruleset)
    event_id = chance.choice(event_ids)
    for _ in range(6):
        event = strategies.event(chance, event_id)
        expected = judged(ruleset, event_id, event)
        assert compiled.match(event_id, event) == expected
        assert compiled.match(event_id, event) == expected  # from what is remembered
        assert trace(ruleset, event_id, event).name == expected
        assert expected is None or compiled.can_emit(event_id)


def judged(ruleset: Ruleset, event_id: int, event: Sequence[str]) -> str | None:
    names = [field.name for field in EVENT_BY_ID[event_id].fields]
    return reference.decide(ruleset, event_id, dict(zip(names, event, strict=True)))


@given(randoms())
@examples(60)
def test_fields_that_rules_do_not_read_do_not_matter(chance: Random) -> None:
    compiled = compile_rules(strategies.ruleset(chance, (11,)))
    event = strategies.event(chance, 11)
    blank = [
        text if field.name in compiled.reads(11) else "-"
        for field, text in zip(FILE_CREATE.fields, event, strict=True)
    ]
    assert compiled.match(11, blank) == compiled.match(11, event)


@given(randoms())
@examples(60)
def test_many_questions_about_one_field_are_answered_alike(chance: Random) -> None:
    conditions = ["contains", "is", "begin with", "end with", "excludes", "less than"]
    chosen = chance.choices(conditions, weights=[9, 1, 1, 1, 1, 1], k=3)
    needles = [
        "".join(chance.choices("abc/-é日", k=chance.randint(1, 12)))
        for _ in range(chance.randint(32, 90))
    ]
    items = tuple(
        Filter("CommandLine", chance.choice(chosen), needle, f"n{i}")
        for i, needle in enumerate(needles)
    )
    onmatch = chance.choice(["include", "exclude"])
    ruleset = Ruleset("4.90", (Element("ProcessCreate", (1,), onmatch, "or", items),))
    compiled = compile_rules(ruleset)
    for _ in range(20):
        text = strategies.text(chance, [*needles, " ", "x", "日"])
        event = values_of(1, CommandLine=text)
        assert compiled.match(1, event) == judged(ruleset, 1, event)


def test_beyond_the_limits_rules_still_decide_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verdicts, "FUNCTIONS_LIMIT", 2)
    monkeypatch.setattr(text_index, "TEXTS_LIMIT", 2)
    monkeypatch.setattr(text_index, "LENGTH_LIMIT", 12)
    items = tuple(Filter("Image", "end with", str(n), f"n{n}") for n in range(10))
    ruleset = file_create(element("include", "or", *items))
    compiled = compile_rules(ruleset)
    for image in [f"/bin/{'x' * (n % 9)}{n}" for n in range(40)] * 2:
        event = values_of(11, Image=image)
        assert compiled.match(11, event) == judged(ruleset, 11, event)


def test_a_huge_list_is_decided_by_one_function() -> None:
    items = tuple(Filter("Image", "contains", f"no{n}") for n in range(5000))
    rules = compile_rules(file_create(element("include", "or", *items)))
    assert rules.match(11, values_of(11, Image="/no4999")) == "-"
    assert rules.match(11, values_of(11, Image="/x")) is None


def test_without_rules_only_processes_are_reported() -> None:
    rules = compile_rules(Ruleset())
    emitted = {event.id for event in EVENTS if rules.can_emit(event.id)}
    assert emitted == {1, 4, 5, 16, 255}
    assert rules.match(1, values_of(1)) == "-"
    assert rules.match(11, values_of(11)) is None
    assert rules.match(16, values_of(16)) == "-"


def test_rules_with_other_functions_for_some_events_are_the_same_for_others() -> None:
    rules = rules_of(compile_rules(Ruleset()).plain())
    others = rules.but_for({11: lambda values: "passed"})
    assert others.match(11, values_of(11)) == "passed"
    assert others.match(1, values_of(1)) == "-"
    assert rules.match(11, values_of(11)) is None
    assert (others.can_emit(1), others.judges) == (True, rules.judges)


def test_exclude_wins_over_include() -> None:
    same = Filter("Image", "is", "x")
    rules = file_create(element("exclude", "or", same), element("include", "or", same))
    assert decided(rules, Image="x") is None
    assert not compile_rules(rules).can_emit(11) or decided(rules, Image="y") is None


def test_two_elements_and_no_match_report_nothing() -> None:
    one = element("exclude", "or", Filter("Image", "is", "x"))
    other = element("exclude", "or", Filter("Image", "is", "y"))
    assert decided(file_create(one), Image="z") == "-"
    assert decided(file_create(one, other), Image="z") is None
    assert not compile_rules(file_create(one, other)).can_emit(11)


@pytest.mark.parametrize(("onmatch", "emits"), [("include", False), ("exclude", True)])
def test_an_empty_element_matches_nothing(onmatch: str, emits: bool) -> None:
    rules = compile_rules(file_create(element(onmatch, "and")))
    assert rules.can_emit(11) is emits
    assert (rules.match(11, values_of(11)) == "-") is emits
    assert rules.reads(11) == frozenset()


def test_the_last_matching_include_element_gives_the_name() -> None:
    first = element("include", "or", Filter("Image", "is", "x", "first"))
    last = element("include", "or", Filter("Image", "is", "x", "last"))
    assert decided(file_create(first, last), Image="x") == "last"


def test_a_name_does_not_leak_from_a_rule_that_did_not_decide() -> None:
    partial = Compound(
        (Filter("Image", "is", "x", "A"), Filter("User", "is", "no", "A")),
        "and",
        1,
        "A",
    )
    unnamed = Filter("TargetFilename", "begin with", "/etc")
    rules = file_create(element("include", "or", partial, unnamed))
    assert decided(rules, Image="x", TargetFilename="/etc/x") == "-"


def test_in_an_and_element_the_last_matching_named_field_gives_the_name() -> None:
    rules = file_create(
        element(
            "include",
            "and",
            Filter("Image", "is", "x", "image"),
            Filter("User", "is", "root", "user"),
            Filter("User", "is", "toor", ""),
        )
    )
    assert decided(rules, Image="x", User="root") == "user"
    assert decided(rules, Image="x", User="toor") == "image"
    assert decided(rules, Image="x", User="y") is None


def test_a_rule_on_rule_name_fixes_it() -> None:
    rules = file_create(
        element(
            "include",
            "or",
            Filter("Image", "is", "x", "early"),
            Filter("RuleName", "is", "-", "late"),
        )
    )
    assert decided(rules, Image="x") == "early"
    assert decided(rules, Image="y") == "-"


def test_a_field_that_an_event_of_the_series_lacks_does_not_match() -> None:
    items = (Filter("Details", "is not", "x"), Filter("Image", "is", "y"))
    registry = Element("RegistryEvent", (12, 13, 14), "include", "or", items, 0, 13)
    rules = compile_rules(Ruleset("4.90", (registry,)))
    assert rules.match(12, values_of(12, Image="z")) is None
    assert rules.match(12, values_of(12, Image="y")) == "-"
    assert rules.match(13, values_of(13, Image="z")) == "-"


def test_the_source_can_be_read_and_says_where_it_comes_from() -> None:
    ruleset = file_create(
        element(
            "include",
            "or",
            Filter("TargetFilename", "begin with", "/ETC/cron", "cron"),
            Filter("Image", "end with", "wget", "fetch"),
            Filter("Image", "end with", "curl", "fetch"),
        )
    )
    assert compile_rules(ruleset).source(11) == (
        "def file_create_11(values):\n"
        "    target_filename = fold(values[5])\n"
        "    # line 7: include\n"
        "    if target_filename.startswith('/etc/cron'):\n"
        "        return 'cron'\n"
        "    image = fold(values[4])\n"
        "    if image.endswith(('wget', 'curl')):\n"
        "        return 'fetch'\n"
        "    return None\n"
    )


def test_events_of_no_interest_are_left_by_one_question_about_one_field() -> None:
    ruleset = file_create(
        element(
            "include",
            "or",
            Filter("TargetFilename", "begin with", "/etc/cron", "cron"),
            Filter("TargetFilename", "begin with", "/etc/init", "init"),
            Filter("TargetFilename", "contains", "/ssh/", "ssh"),
        )
    )
    rules = compile_rules(ruleset)
    assert rules.source(11) == (
        "def file_create_11(values):\n"
        "    target_filename = fold(values[5])\n"
        "    # most are of no interest\n"
        "    if not ((target_filename.startswith(('/etc/cron', '/etc/init'))"
        " or '/ssh/' in target_filename)):\n"
        "        return None\n"
        "    # line 7: include\n"
        "    if target_filename.startswith('/etc/cron'):\n"
        "        return 'cron'\n"
        "    if target_filename.startswith('/etc/init'):\n"
        "        return 'init'\n"
        "    if '/ssh/' in target_filename:\n"
        "        return 'ssh'\n"
        "    return None\n"
    )
    names = [
        rules.match(11, values_of(11, TargetFilename=name))
        for name in ("/etc/cron.d/x", "/etc/initrc", "/home/ssh/y", "/tmp/z")
    ]
    assert names == ["cron", "init", "ssh", None]


def test_a_hostile_name_or_value_cannot_become_code() -> None:
    evil = "'+__import__('os').abort()+'\n\"\"\"\\"
    items = (Filter("User", "is", "x", "'"), Filter("Image", "contains", evil, evil))
    ruleset = Ruleset("4.90", (Element("ProcessCreate", (1,), "include", "or", items),))
    assert compile_rules(ruleset).match(1, values_of(1, Image=evil)) == evil
