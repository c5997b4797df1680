# SPDX-License-Identifier: MIT
"""Fields of ours: configured, made, judged, printed; nothing without the setting."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from support.enrichment import encode, make_context, make_maker

from sysmonlx.capture.records import Layouts
from sysmonlx.config.reader import read_policy
from sysmonlx.config.stored_policy import policy_of
from sysmonlx.enrich.appended import APPENDERS, appenders_of, refit, with_appended
from sysmonlx.errors import ConfigError
from sysmonlx.output.render import Renderer
from sysmonlx.policy import LEAST_LIMIT_BYTES, Policy
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.rules.verdicts import rules_of
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
    assert set(APPENDED) == APPENDERS.keys()
    for event in EVENTS:
        names = [field.name for field in event.appended]
        assert names == [name for name in APPENDED if name in names]
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
def test_rules_read_the_value_of_their_field(event, relation: str) -> None:  # type: ignore[no-untyped-def]
    for number, field in enumerate(event.appended):
        asks = _ASKS.format(event.tag, field.name, "me")
        if relation:
            rule = f'<Rule groupRelation="and">{relation}'
            asks = asks.replace(f"<{field.name}", f"{rule}<{field.name}")
            asks = asks.replace(f"</{field.name}>", f"</{field.name}></Rule>")
        rules = rules_of(compile_rules(policy(asks, ALL).ruleset).plain())
        ours = ["-"] * len(event.appended)
        assert rules.match(event.id, ["-"] * len(event.fields) + ours) is None
        ours[number] = "me"
        assert rules.match(event.id, ["-"] * len(event.fields) + ours) == "-"


@pytest.mark.parametrize("event", [e for e in EVENTS if e.appended], ids=lambda e: e.id)
@pytest.mark.parametrize("form", ["xml", "json"])
def test_line_only_grows_behind_its_last_field(event, form: str) -> None:  # type: ignore[no-untyped-def]
    values = [f"v{number}" for number in range(len(event.fields))]
    plain = Renderer(form, "h", 1, 1, 0)
    before = plain.line(event.id, values, 1, 0).decode()
    longer = Renderer(form, "h", 1, 1, 0, appended=APPENDED)
    ours = [f"<{number}>" for number in range(len(event.appended))]
    if form == "json":
        line = longer.line(event.id, values + ours, 1, 0).decode()
        assert line.startswith(before.removesuffix("}}}") + ",")
        shown = json.loads(line)["Event"]["EventData"]
        # By name, as Elastic, Wazuh and Zircolite read; in order, as Sentinel does.
        assert list(shown.values()) == values + ours
        assert [*shown][len(values) :] == [each.name for each in event.appended]
        return
    ours = ["1" if each.name == "UserId" else "<x>" for each in event.appended]
    line = longer.line(event.id, values + ours, 1, 0).decode()
    assert line.startswith(before.removesuffix("</EventData></Event>"))
    data = [(e.get("Name"), e.text) for e in ElementTree.fromstring(line).iter("Data")]
    assert dict(data[len(values) :]) == {
        each.name: text for each, text in zip(event.appended, ours, strict=True)
    }
    ordered = ".*?".join(f'"{each.name}">([^<]*)<' for each in event.fields)
    [found] = re.findall(ordered, line)
    assert list(found) == values


@pytest.mark.parametrize("form", ["xml", "json"])
def test_smallest_limit_holds_with_every_field(form: str) -> None:
    event = EVENT_BY_ID[1].with_appended(APPENDED)
    made = Renderer(form, "h" * 64, 1, 1, 0, LEAST_LIMIT_BYTES, appended=APPENDED)
    values = [
        "x&" * 3000 if field.name != "UserId" else "4294967295"
        for field in event.fields
    ]
    assert len(made.line(1, values, 1 << 63, 0)) > 0
    texts = ["-" * 38 if "Guid" in f.name else "/x" * 2000 for f in event.fields]
    for at, field in enumerate(event.fields):
        if field.is_made_here or field.type.name != "STRING":
            texts[at] = "-" * 38
    assert len(made.line(1, texts, 1 << 63, 0)) <= LEAST_LIMIT_BYTES


def test_values_of_an_event_1(layouts: Layouts) -> None:
    context = make_context(layouts)
    layout = layouts.by_name["process_create"]
    maker = make_maker(layouts, context, "process_create", 1)
    assert with_appended(maker, appenders_of(1, (), layout, context)) is maker
    longer = with_appended(maker, appenders_of(1, APPENDED, layout, context))
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
        ours = values[len(EVENT_BY_ID[1].fields) :]
        assert longer.finish(values, data, process) is False
        assert values[: -len(ours)] == maker.make(data, process)
        if tgid < 3:
            assert ours == ["-", "-", "1000"]
    assert ours == ["root", "/bin/1", "1000"]


def test_event_that_waits_is_fitted_to_another_setting() -> None:
    values = ["-"] * len(EVENT_BY_ID[1].fields) + ["a", "b"]
    refit(1, values, ("LoginUser", "UserId"), ("UserId", "GrandparentImage"))
    assert values[-2:] == ["-", "b"]
    refit(1, values, ("UserId", "GrandparentImage"), ())
    assert len(values) == len(EVENT_BY_ID[1].fields)
