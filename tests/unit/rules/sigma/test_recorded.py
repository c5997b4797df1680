# SPDX-License-Identifier: MIT
"""Processes of a record of events: lineages, ancestors, programs."""

from __future__ import annotations

import pytest

from sysmonlx.processes.identity import Identity
from sysmonlx.rules.sigma.correlator import Deed
from sysmonlx.rules.sigma.recorded import Recorded, identity_of

IDENTITY = Identity(0x1234, 0)


def guid(tgid: int, exec_id: int = 1) -> str:
    return IDENTITY.process_guid(tgid, tgid, exec_id)


def start(
    recorded: Recorded, tgid: int, parent: int, session: str = "-", exec_id: int = 1
) -> Deed:
    texts = {
        "UtcTime": "2026-01-01 00:00:01.500",
        "ProcessGuid": guid(tgid, exec_id),
        "ParentProcessGuid": guid(parent, 7),
        "ParentProcessId": str(parent),
        "Image": "/bin/sh",
        "CommandLine": "sh x",
        "CurrentDirectory": "/tmp",
        "TerminalSessionId": session,
        "User": "ann",
    }
    deed = recorded.deed(1, texts, [])
    assert deed is not None
    return deed


def test_images_of_one_process_have_one_identity() -> None:
    assert identity_of(guid(10)) == identity_of(guid(10, 0xFFF))
    assert identity_of(guid(10)) != identity_of(guid(11))
    assert identity_of("{x}") == "{x}"


def test_ancestors_are_found_whatever_they_ran_since() -> None:
    recorded = Recorded()
    first = start(recorded, 10, 1).doer
    last = start(recorded, 12, 11).doer if start(recorded, 11, 10) else first
    assert [*last.identities()] == [identity_of(guid(n)) for n in (12, 11, 10)]
    assert last.lineage() == first.lineage()
    other = start(recorded, 20, 1).doer
    assert other.lineage() != first.lineage()


def test_a_login_is_its_session() -> None:
    recorded = Recorded()
    start(recorded, 10, 1, "5")
    assert start(recorded, 11, 10, "4294967295").doer.lineage() == "session 5"


def test_what_is_known_of_a_process_serves_its_other_events() -> None:
    recorded = Recorded()
    start(recorded, 10, 1)
    texts = {"UtcTime": "2026-01-01 00:00:02.000", "ProcessGuid": guid(10)}
    deed = recorded.deed(3, texts, [])
    assert deed is not None
    assert deed.doer.program("-") == "/tmp/x"
    assert deed.time_ns == 1_767_225_602_000_000_000


@pytest.mark.parametrize(
    "utc", ["-", "", "2026-01-01", "2026-13-01 00:00:00.x", "a b.c"]
)
def test_events_without_time_or_process_are_no_steps(utc: str) -> None:
    assert Recorded().deed(3, {"UtcTime": utc, "ProcessGuid": guid(1)}, []) is None
    texts = {"UtcTime": "2026-01-01 00:00:01.500"}
    assert Recorded().deed(4, texts, []) is None


def test_an_ancestor_of_itself_ends() -> None:
    recorded = Recorded()
    deed = start(recorded, 10, 10)
    assert len([*deed.doer.identities()]) < 100
