# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from sysmonlx.policy import Ruleset, Settings
from sysmonlx.schema import conditions, event_types, events
from sysmonlx.schema.event_types import FieldType
from sysmonlx.schema.events import EVENT_BY_ID, EVENTS
from sysmonlx.schema.options import OPTIONS, SETTINGS, SINK_KINDS


def test_events_are_in_schema_order() -> None:
    assert [event.id for event in EVENTS] == [255, *range(1, 27), 100]


@pytest.mark.parametrize(
    ("event_id", "count", "last", "version", "default", "is_stated"),
    [
        (1, 23, "ParentUser", 5, "include", True),
        (3, 18, "DestinationPortName", 5, "exclude", False),
        (4, 4, "SchemaVersion", 3, None, False),
        (5, 6, "User", 3, "include", True),
        (10, 13, "TargetUser", 3, "exclude", False),
        (11, 8, "User", 2, "exclude", True),
        (23, 10, "Archived", 5, "exclude", False),
        (100, 10, "BpfProgramName", 1, "exclude", True),
        (255, 3, "Description", 3, None, False),
    ],
)
def test_event_has_the_fields_of_its_schema(
    event_id: int,
    count: int,
    last: str,
    version: int,
    default: str | None,
    is_stated: bool,
) -> None:
    event = EVENT_BY_ID[event_id]
    assert (len(event.fields), event.fields[-1].name) == (count, last)
    assert (event.version, event.default) == (version, default)
    assert event.default_is_stated is is_stated


def test_types_go_without_saying_when_they_are_strings() -> None:
    notation = event_types.fields("Image ProcessId:PID")
    assert [field.type for field in notation] == [FieldType.STRING, FieldType.PID]


def test_only_filterable_events_start_with_rule_name() -> None:
    for event in EVENTS:
        assert (event.tag is not None) == (event.fields[0].name == "RuleName")
        assert (event.tag is not None) == (event.default is not None)


def test_events_that_rules_filter_have_room_for_the_names_of_hits() -> None:
    """Else a hit of Sigma's rules would be written over another value."""
    judged = [event for event in EVENTS if event.produced and event.tag]
    without = [
        event.id
        for event in judged
        if not event.appended or event.appended[-1].name != "RuleNames"
    ]
    assert without == []


def test_conditions_in_messages_end_with_the_newest_two() -> None:
    shown = conditions.CONDITIONS_IN_MESSAGES
    assert shown[-2:] == ("not begin with", "not end with")
    assert set(shown) == set(conditions.CONDITIONS)
    assert len(shown) == 16


def test_configurations_without_rules_have_the_newest_schema() -> None:
    assert Ruleset().schema_version == events.SCHEMA_VERSION


def test_every_setting_has_a_default_in_its_range() -> None:
    defaults = Settings()
    for setting in SETTINGS:
        value = getattr(defaults, setting.attribute)
        if setting.default:  # in words: there is one for each kind of sink
            limits = {defaults.line_limit_of(kind) for kind in SINK_KINDS}
            assert all(str(limit) in setting.default for limit in limits)
            assert setting.low <= min(limits) <= max(limits) <= setting.high
        elif setting.kind in ("size", "number"):
            assert setting.low <= value <= setting.high
        else:
            kinds = {"boolean": bool, "names": tuple}
            assert isinstance(value, kinds.get(setting.kind, str))


def test_exclusive_options_are_command_line_only() -> None:
    assert len(OPTIONS) == 28
    assert all(each.command_line_only for each in OPTIONS if each.exclusive)
