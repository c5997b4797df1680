# SPDX-License-Identifier: MIT
from __future__ import annotations

from sysmonlx.policy import SELF_TEST
from sysmonlx.schema.events import EVENT_BY_ID, EVENTS
from sysmonlx.selftest.act import Action
from sysmonlx.selftest.actions import ACTIONS, NO_ACTION, NOT_TRIED
from sysmonlx.selftest.expected import Some
from sysmonlx.selftest.verdict import (
    Person,
    Verdict,
    defaults,
    expected_of,
    guid_of,
    judge,
    not_made,
)

ACTOR = Person(20, "{aaaaaaaa-1}", "/usr/bin/python3", "python3 x", "root")
PARENT = Person(10, "{aaaaaaaa-2}", "/usr/bin/python3", "python3 x", "root")
TARGET = Person(11, "{aaaaaaaa-3}", "/usr/bin/python3", "python3 x", "root")
TIME = Some(low="2026-01-01", high="2026-01-02")
KNOWN = defaults(ACTOR, PARENT, TARGET, TIME)
END = Action(5, lambda scene, tell: None)


def end(**other: str) -> dict[str, str]:
    return {
        "RuleName": SELF_TEST,
        "UtcTime": "2026-01-01 10:00",
        "ProcessGuid": ACTOR.guid,
        "ProcessId": "20",
        "Image": ACTOR.image,
        "User": "root",
        **other,
    }


def test_event_with_right_fields_is_seen() -> None:
    outcome = judge(END, "", expected_of(5, KNOWN, {}), [end()], "no reason")
    assert (outcome.verdict, outcome.why, outcome.unchecked) == (Verdict.SEEN, (), ())


def test_field_that_is_another_is_named() -> None:
    outcome = judge(END, "", expected_of(5, KNOWN, {}), [end(User="-")], "")
    assert outcome.verdict is Verdict.WRONG
    assert outcome.why == ('User is "-", not "root"',)


def test_event_that_did_not_come_has_the_reason_of_the_service() -> None:
    outcome = judge(END, "way", expected_of(5, KNOWN, {}), [], "off its hook")
    assert (outcome.verdict, outcome.why) == (Verdict.NOT_SEEN, ("off its hook",))


def test_event_that_fits_best_is_taken() -> None:
    others = [end(User="-", Image="-"), end(), end(User="-")]
    outcome = judge(END, "", expected_of(5, KNOWN, {}), others, "")
    assert outcome.verdict is Verdict.SEEN


def test_field_that_nobody_expects_is_told_as_unchecked() -> None:
    event = end(ContainerId="-", UserId=str(KNOWN["UserId"]))
    outcome = judge(END, "", expected_of(5, KNOWN, {}), [event], "")
    assert (outcome.verdict, outcome.unchecked) == (Verdict.SEEN, ("ContainerId",))


def test_values_of_the_act_win() -> None:
    expected = expected_of(1, KNOWN, {"Image": "/bin/sh", "Hashes": "SHA256=0"})
    assert expected["Image"] == "/bin/sh"
    assert expected["ParentImage"] == PARENT.image
    assert expected["Product"] == "-"  # never another text on Linux
    assert "Nonsense" not in expected_of(1, KNOWN, {"Nonsense": "x"})


def test_process_access_names_both_processes() -> None:
    expected = expected_of(10, KNOWN, {"GrantedAccess": "0x10"})
    assert expected.keys() >= {each.name for each in EVENT_BY_ID[10].fields}
    assert expected["SourceProcessGUID"] == ACTOR.guid
    assert expected["TargetProcessGUID"] == TARGET.guid


def test_guid_of_an_event_is_that_of_the_actor() -> None:
    values = {each.name: each.name for each in EVENT_BY_ID[10].fields}
    assert guid_of(10, values) == "SourceProcessGUID"
    assert guid_of(255, {}) == ""


def test_events_that_are_not_made_say_why() -> None:
    unwanted = {"3": "no rule", "6": "no rule"}
    made = [action for action in ACTIONS if action.event_id == 1]
    found = {each.event_id: each for each in not_made(made, unwanted)}
    produced = {event.id for event in EVENTS if event.produced}
    assert found.keys() == produced - {1}
    assert found[3].verdict is Verdict.OFF
    assert found[255].why == (NOT_TRIED[255],)
    assert (found[5].verdict, found[5].why) == (Verdict.NOT_TRIED, (NO_ACTION,))
