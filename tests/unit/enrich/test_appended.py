# SPDX-License-Identifier: MIT
"""Fields of ours: configured, made, judged, printed; nothing without the setting."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from support.enrichment import encode, make_context, make_maker
from support.packs import asks, rule, ruleset_with

from sysmonlx.capture.records import Layouts
from sysmonlx.config.reader import read_policy
from sysmonlx.config.stored_policy import policy_of
from sysmonlx.enrich.appended import APPENDERS, refit, with_appended
from sysmonlx.enrich.context import Context
from sysmonlx.errors import ConfigError
from sysmonlx.event import Event
from sysmonlx.output.render import Renderer
from sysmonlx.pipeline.flow import Pipeline
from sysmonlx.policy import (
    LEAST_LIMIT_BYTES,
    RULE_NAMES,
    Policy,
    Ruleset,
    least_limit,
)
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.conditions import Operation
from sysmonlx.rules.verdicts import rules_of
from sysmonlx.schema.common_fields import OF_ACTOR
from sysmonlx.schema.event_types import EventType
from sysmonlx.schema.events import APPENDED, EVENT_BY_ID, EVENTS
from sysmonlx.schema.versions import schema_text

_CONFIG = """<Sysmon schemaversion="4.90"><EventFiltering>{}</EventFiltering>
<sx:Settings xmlns:sx="urn:sysmonlx:settings">{}</sx:Settings></Sysmon>"""
_ASKS = '<{0} onmatch="include"><{1} condition="is">{2}</{1}></{0}>'
ALL = f"<sx:Fields>{', '.join(APPENDED)}</sx:Fields>"


def policy(rules: str, settings: str) -> Policy:
    found, warnings = read_policy(_CONFIG.format(rules, settings).encode(), "x.xml")
    assert warnings == ()
    return found


def refusals(rules: str, settings: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_policy(_CONFIG.format(rules, settings).encode(), "x.xml")
    return [f"{each.text}: {each.advice}" for each in caught.value.findings]


def test_each_field_is_stated_once_and_is_made() -> None:
    every = (*APPENDED, RULE_NAMES)
    assert set(every) == APPENDERS.keys()
    for event in EVENTS:
        names = [field.name for field in event.appended]
        assert names == [name for name in every if name in names]
        assert all(field.is_ours for field in event.appended)
        assert not set(names) & {field.name for field in event.fields}
        assert event.with_appended(()) is event


def test_published_schema_does_not_have_them() -> None:
    lines = schema_text().splitlines()
    for event in EVENTS:
        for name in (each.name for each in event.appended):
            [begin] = (n for n, line in enumerate(lines) if f'"{event.name}"' in line)
            end = next(n for n in range(begin, len(lines)) if "</event>" in lines[n])
            assert not any(f'name="{name}"' in line for line in lines[begin:end])


def test_order_is_that_of_the_schema_and_spelling_matters() -> None:
    found = policy("", "<sx:Fields> UserId ,LoginUser</sx:Fields>")
    assert found.settings.appended_fields == ("LoginUser", "UserId")
    assert found.ruleset.appended == ("LoginUser", "UserId")
    assert policy_of(found.to_json()) == found
    assert policy("", "<sx:Fields></sx:Fields>").settings.appended_fields == ()
    assert "did you mean UserId?" in refusals("", "<sx:Fields>UserID</sx:Fields>")[0]
    assert "named twice" in refusals("", "<sx:Fields>UserId,UserId</sx:Fields>")[0]
    assert "given twice" in refusals("", ALL + ALL)[0]
    assert "no such field" in refusals("", "<sx:Fields>UserId,,</sx:Fields>")[0]


def test_rule_may_name_a_field_only_where_it_is_configured() -> None:
    asks = _ASKS.format("ProcessCreate", "LoginUser", "alice")
    [text] = refusals(asks, "<sx:Fields>UserId</sx:Fields>")
    assert text == (
        "Incorrect field LoginUser: it exists where the settings have"
        " <sx:Fields>LoginUser</sx:Fields>"
    )
    assert policy(asks, ALL).ruleset.elements
    # An event that cannot have it is another matter.
    other = refusals(_ASKS.format("FileCreate", "LoginUser", "alice"), ALL)
    assert "exists where" not in other[0]


def test_stored_rule_on_a_field_that_is_not_configured_is_refused() -> None:
    found = policy(_ASKS.format("FileCreate", "UserId", "0"), ALL)
    without = replace(found, settings=replace(found.settings, appended_fields=()))
    with pytest.raises(ValueError, match="UserId"):
        policy_of(without.to_json())


@pytest.mark.parametrize("event", [e for e in EVENTS if e.appended], ids=lambda e: e.id)
@pytest.mark.parametrize("relation", ["", '<RuleName condition="is">-</RuleName>'])
def test_rules_read_the_value_of_their_field(event: EventType, relation: str) -> None:
    for number, field in enumerate(event.askable):
        asks = _ASKS.format(event.tag, field.name, "me")
        if relation:
            rule = f'<Rule groupRelation="and">{relation}'
            asks = asks.replace(f"<{field.name}", f"{rule}<{field.name}")
            asks = asks.replace(f"</{field.name}>", f"</{field.name}></Rule>")
        rules = rules_of(compile_rules(policy(asks, ALL).ruleset).plain())
        ours = ["-"] * len(event.askable)
        assert rules.match(event.id, ["-"] * len(event.fields) + ours) is None
        ours[number] = "me"
        assert rules.match(event.id, ["-"] * len(event.fields) + ours) == "-"


@pytest.mark.parametrize("event", [e for e in EVENTS if e.appended], ids=lambda e: e.id)
@pytest.mark.parametrize("form", ["xml", "json"])
def test_line_only_grows_behind_its_last_field(event: EventType, form: str) -> None:
    values = [f"v{number}" for number in range(len(event.fields))]
    plain = Renderer(form, "h", 1, 1, 0)
    before = plain.line(event.id, values, 1, 0).decode()
    longer = Renderer(form, "h", 1, 1, 0, appended=APPENDED)
    ours = [f"<{number}>" for number in range(len(event.askable))]
    if form == "json":
        line = longer.line(event.id, values + ours, 1, 0).decode()
        assert line.startswith(before.removesuffix("}}}") + ",")
        shown = json.loads(line)["Event"]["EventData"]
        # By name, as Elastic, Wazuh and Zircolite read; in order, as Sentinel does.
        assert list(shown.values()) == values + ours
        assert [*shown][len(values) :] == [each.name for each in event.askable]
        return
    ours = ["1" if each.type.name != "STRING" else "<x>" for each in event.askable]
    line = longer.line(event.id, values + ours, 1, 0).decode()
    assert line.startswith(before.removesuffix("</EventData></Event>"))
    data = [(e.get("Name"), e.text) for e in ElementTree.fromstring(line).iter("Data")]
    assert dict(data[len(values) :]) == {
        each.name: text for each, text in zip(event.askable, ours, strict=True)
    }
    ordered = ".*?".join(f'"{each.name}">([^<]*)<' for each in event.fields)
    [found] = re.findall(ordered, line)
    assert list(found) == values


@pytest.mark.parametrize("form", ["xml", "json"])
def test_smallest_limit_holds_with_every_field(form: str) -> None:
    event = EVENT_BY_ID[1].with_appended(APPENDED)
    made = Renderer(form, "h" * 64, 1, 1, 0, least_limit(APPENDED), appended=APPENDED)
    values = [
        "x&" * 3000 if field.type.name == "STRING" else "4294967295"
        for field in event.fields
    ]
    assert len(made.line(1, values, 1 << 63, 0)) > 0
    texts = ["-" * 38 if "Guid" in f.name else "/x" * 2000 for f in event.fields]
    for at, field in enumerate(event.fields):
        if field.is_made_here or field.type.name != "STRING":
            texts[at] = "-" * 38
    assert len(made.line(1, texts, 1 << 63, 0)) <= least_limit(APPENDED)


def names_of(event_id: int, names: tuple[str, ...]) -> list[str]:
    event = EVENT_BY_ID[event_id].with_appended(names)
    return [each.name for each in event.fields]


def test_limit_of_a_line_that_is_too_small_for_the_fields_is_refused() -> None:
    limit = f"<sx:LineLimit>{LEAST_LIMIT_BYTES}</sx:LineLimit>"
    assert policy("", limit).settings.line_limit_bytes == LEAST_LIMIT_BYTES
    least = least_limit(APPENDED)
    for both in (limit + ALL, ALL + limit):
        [text] = refusals("", both)
        assert f"a line needs {least} bytes" in text
    policy("", ALL + f"<sx:LineLimit>{least}</sx:LineLimit>")


def test_values_of_an_event_1(layouts: Layouts) -> None:
    context = make_context(layouts)
    context.processes.launches.fit(APPENDED)
    layout = layouts.by_name["process_create"]
    maker = make_maker(layouts, context, "process_create", 1)
    assert with_appended(1, maker, (), layout, context) is maker
    longer = with_appended(1, maker, APPENDED, layout, context)
    found = []
    for tgid, parent in ((1, 0), (2, 1), (3, 2)):
        data = encode(
            layouts,
            "process_create",
            tgid=tgid,
            start_boot_ns=tgid,
            exec_id=1,
            uid=1000,
            loginuid=0 if tgid == 3 else 0xFFFFFFFF,
            parent_tgid=parent,
            parent_start_boot_ns=parent,
            image=b"/bin/%d" % tgid,
            args=b"x\0",
        )
        process = context.processes.create(data)
        values = longer.make(data, process)
        assert values[: len(EVENT_BY_ID[1].fields)] == maker.make(data, process)
        assert longer.finish(values, data, process) is True
        found.append(dict(zip(names_of(1, APPENDED), values, strict=True)))
    assert [each["LoginUser"] for each in found] == ["-", "-", "root"]
    assert [each["GrandparentImage"] for each in found] == ["-", "-", "/bin/1"]
    assert [each["UserId"] for each in found] == ["1000"] * 3


NO_RULES = Ruleset()


class Lines:
    """A pipeline with these fields, and its lines: as made, and value by value."""

    def __init__(
        self,
        layouts: Layouts,
        context: Context,
        names: tuple[str, ...],
        ruleset: Ruleset = NO_RULES,
    ) -> None:
        self.layouts = layouts
        self.events: list[Event] = []
        hasher: Any = KnownHashes()
        output: Any = SimpleNamespace(emit=self.events.append)
        self.pipeline = Pipeline(
            layouts, context.processes, context, output, hasher, lambda file: None
        )
        self.pipeline.use_rules(rules_of(compile_rules(ruleset).plain()), names)
        self.names = names

    def take(self, name: str, **values: Any) -> None:
        self.pipeline.take([encode(self.layouts, name, **values)])

    def start(self, tgid: int, **more: Any) -> None:
        values = {"image": b"/bin/x", "args": b"x\0", "cwd": b"/", "file_inode": 5}
        who = {"tgid": tgid, "start_boot_ns": tgid, "exec_id": 1}
        self.take("process_create", **who, **(values | more))

    def both(self, form: str) -> tuple[list[str], list[str]]:
        """Return the lines as templates make them, and each value escaped by itself."""
        made = Renderer(form, "h", 1, 1, 0, appended=self.names)
        found = made.lines(self.events, 1, 0).split()
        lines = [line.decode() for line in found]
        single = [
            made.line(event_id, values, number, 0).decode()
            for number, (event_id, values, *_) in enumerate(self.events, 1)
        ]
        return lines, single


class KnownHashes:
    has_work = True

    def expect(self, *file: object) -> None: ...

    def unexpect(self) -> None: ...

    def cached(self, file: object) -> str:
        return "SHA256=00"


@pytest.mark.parametrize("form", ["xml", "json"])
@pytest.mark.parametrize(
    "group", [b"/a.slice", b"/a&b.slice", b"/a\\x2d.slice", b"/\xff"]
)
def test_lines_from_templates_are_those_of_the_values(
    layouts: Layouts, form: str, group: bytes
) -> None:
    """Of starts in a row with one parent, and others; whatever needs escapes."""
    context = make_context(layouts)
    context.control_groups.made(7, group)
    lines = Lines(layouts, context, APPENDED)
    of_shell = {"parent_tgid": 1, "parent_start_boot_ns": 1, "parent_exec_id": 1}
    lines.start(1, image=b"/bin/<sh>", uid=1000)
    for tgid in range(2, 40):
        parent = of_shell | {"parent_uid": 0} if tgid % 13 else {}
        lines.start(tgid, cgroup_id=7, loginuid=1001, **parent)
        lines.take("process_terminate", tgid=tgid, start_boot_ns=tgid, exec_id=1)
    fast, single = lines.both(form)
    assert fast == single
    assert len(fast) == 39 + 38
    assert len({event[3] for event in lines.events if event[3]}) > 1  # shapes


@pytest.mark.parametrize("form", ["xml", "json"])
def test_rule_names_are_those_of_each_event(layouts: Layouts, form: str) -> None:
    """Of starts of one launch, whose line is made once; of names that need escapes."""
    evil = asks("CommandLine", Operation.CONTAINS, "evil")
    rules = [
        rule("Plain", evil, level="high"),
        rule('<a & "b">', evil, level="low"),
        rule("File", asks("Image", Operation.END, "/x"), event_id=5),
        rule("<File>", asks("Image", Operation.END, "/x"), event_id=5, level="low"),
    ]
    lines = Lines(
        layouts, make_context(layouts), (RULE_NAMES,), ruleset_with(rules, "tag")
    )
    for tgid in range(10, 40):
        lines.start(tgid, args=b"x\0evil\0" if tgid % 3 else b"x\0")
        lines.take("process_terminate", tgid=tgid, start_boot_ns=tgid, exec_id=1)
    fast, single = lines.both(form)
    assert fast == single
    named = [values[-1] for event_id, values, *_ in lines.events if event_id == 1]
    assert [each.count("sigma=") for each in named] == [
        2 if tgid % 3 else 0 for tgid in range(10, 40)
    ]


def test_events_stay_plain_where_the_fields_are(layouts: Layouts) -> None:
    context = make_context(layouts)
    context.control_groups.made(7, b"/a.slice")
    context.control_groups.made(8, b"/<b>.slice")
    lines = Lines(layouts, context, APPENDED)
    for group in (7, 8, 7, 8):
        lines.start(10 + group, cgroup_id=group)
        who = {"tgid": 10 + group, "start_boot_ns": 10 + group, "exec_id": 1}
        lines.take("process_terminate", **who)
    plain = [is_plain for event_id, _, is_plain, _ in lines.events if event_id == 5]
    assert plain == [True, False, True, False]
    shapes = [shape for event_id, _, _, shape in lines.events if event_id == 1]
    # The first of each waits for its hash, and goes without a shape.
    rests = [shape and shape.has_plain_rest for shape in shapes]
    assert rests == [None, None, True, False]


def test_container_of_later_events_is_that_of_the_start(layouts: Layouts) -> None:
    context = make_context(layouts)
    lines = Lines(layouts, context, OF_ACTOR)
    path = b"/system.slice/docker-" + b"0a" * 32 + b".scope"
    lines.take("cgroup_create", cgroup_id=7, path=path)
    lines.start(10, cgroup_id=7)
    fork = {"tgid": 11, "start_boot_ns": 11, "exec_id": 1}
    parent = {"parent_tgid": 10, "parent_start_boot_ns": 10, "parent_exec_id": 1}
    lines.take("process_fork", **fork, **parent)
    lines.take("process_terminate", tgid=11, start_boot_ns=11, exec_id=1)
    lines.take("process_terminate", tgid=12, start_boot_ns=12, exec_id=1)
    found = [values[-4:] for _, values, *_ in lines.events]
    of_container = ["0a" * 32, "docker", "-", path.decode()]
    assert found == [of_container, of_container, ["-"] * 4]


def test_event_that_waits_is_fitted_to_another_setting() -> None:
    values = ["-"] * len(EVENT_BY_ID[1].fields) + ["a", "b"]
    refit(1, values, ("LoginUser", "UserId"), ("UserId", "GrandparentImage"))
    assert values[-2:] == ["-", "b"]
    refit(1, values, ("UserId", "GrandparentImage"), ())
    assert len(values) == len(EVENT_BY_ID[1].fields)


def test_control_group_that_was_not_known_at_first_is_shown_a_second_later(
    layouts: Layouts,
) -> None:
    context = make_context(layouts)
    context.processes.launches.fit(APPENDED)
    layout = layouts.by_name["process_create"]
    maker = make_maker(layouts, context, "process_create", 1)
    longer = with_appended(1, maker, APPENDED, layout, context)
    groups: Any = context.control_groups

    def path_of(tgid: int) -> str:
        who = {"tgid": tgid, "start_boot_ns": tgid, "exec_id": 1, "cgroup_id": 5}
        data = encode(layouts, "process_create", **who, image=b"/bin/x", args=b"x\0")
        values = longer.make(data, context.processes.create(data))
        return str(values[names_of(1, APPENDED).index("CgroupPath")])

    assert path_of(1) == "-"
    groups.paths[5] = b"/system.slice/x.service"
    context.renew()
    assert [path_of(tgid) for tgid in (2, 3)] == ["/system.slice/x.service"] * 2
    made = context.processes.launches.made
    context.renew()
    assert path_of(4) == "/system.slice/x.service"
    assert context.processes.launches.made == made  # nothing is in doubt any more


def test_group_that_cannot_be_known_is_not_asked_for_at_each_event(
    layouts: Layouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(layouts)
    asked: list[int] = []

    def path(number: int) -> bytes:
        asked.append(number)
        return b""

    monkeypatch.setattr(context.control_groups, "path", path)
    for _ in range(3):
        assert context.of_group(0) == context.of_group(7) == ("-",) * 4
    assert asked == [7, 7, 7]  # that one may be found yet
    assert context.knows_group(0)
    assert not context.knows_group(7)
