# SPDX-License-Identifier: MIT
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sysmonlx.builders import BUILDERS
from sysmonlx.catalogue import EVENT_BY_ID
from sysmonlx.enrich import Built, Context, process_create, process_terminate
from sysmonlx.process import NO_GUID, Identity
from sysmonlx.processes import (
    ACTOR_FIELDS,
    CREATE_FIELDS,
    FORK_FIELDS,
    ProcessTable,
)
from sysmonlx.ruleset import Settings

NAMES = (
    "KERNEL_THREAD ARGS_TRUNCATED IMAGE_TRUNCATED CWD_TRUNCATED TTY_IS_PTS "
    "PATH_TRUNCATED PATH_GIVEN PATH_UNREADABLE FILE_IS_NEW"
)
FLAGS = {name: 1 << bit for bit, name in enumerate(NAMES.split())}
SECOND = 1_000_000_000
BOOT_WALL_NS = 1_700_000_000 * SECOND


class Users:
    """Knows root and one user, who logged in on pts/3."""

    def __init__(self) -> None:
        self.names = {0: "root", 1000: "user", 54321: "-", 1001: "a<b"}

    def renew(self) -> None: ...

    def logon_second(self, uid: int, tty_index: int, *, is_pts: bool) -> int:
        return 0x12345678 if (uid, tty_index, is_pts) == (1000, 3, True) else 0


class Ports:
    def port_name(self, port: int, protocol: str) -> str:
        return "-"

    def renew(self) -> None: ...


@pytest.fixture
def context() -> Context:
    table = ProcessTable(Identity(0xABCD, BOOT_WALL_NS), FLAGS)
    return Context(table, Users(), Ports(), Settings(), BOOT_WALL_NS)


def record(**more: Any) -> SimpleNamespace:
    values = {
        "boot_ns": 5 * SECOND + 123_999_999,
        "start_boot_ns": 4 * SECOND,
        "tgid": 42,
        "uid": 1000,
        "exec_id": 2,
        "parent_tgid": 7,
        "parent_start_boot_ns": SECOND,
        "parent_exec_id": 1,
        "pid_namespace": 0,
        "mount_namespace": 0,
        "namespace_tgid": 42,
        "flags": 0,
        "tty_index": 0,
        "session_id": 4294967295,
        "image": b"/bin/a",
        "args": b"a\0b\0",
        "cwd": b"/home",
        "comm": b"a",
    }
    return SimpleNamespace(**(values | more))


def taken(one: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(getattr(one, name) for name in names)


def built(context: Context, **more: Any) -> Built:
    fields = taken(record(**more), CREATE_FIELDS)
    return process_create(fields, context.processes.create(fields), context)


def created(context: Context, **more: Any) -> dict[str, str]:
    """Return event 1 of such a record, by field names."""
    return named(1, built(context, **more)[0])


def named(event_id: int, values: list[str]) -> dict[str, str]:
    names = [field.name for field in EVENT_BY_ID[event_id].fields]
    return dict(zip(names, values, strict=True))


def test_process_create_has_every_field(context: Context) -> None:
    context.processes.scan(
        [
            record(
                tgid=7,
                start_boot_ns=SECOND,
                exec_id=1,
                uid=0,
                parent_tgid=0,
                image=b"/sbin/parent",
                args=b"parent\0-x\0",
            )
        ],
        2 * SECOND,
    )
    identity = context.processes.identity
    assert created(context) == {
        "RuleName": "-",
        "UtcTime": "2023-11-14 22:13:25.123",
        "ProcessGuid": identity.process_guid(42, 4 * SECOND, 2),
        "ProcessId": "42",
        "Image": "/bin/a",
        "FileVersion": "-",
        "Description": "-",
        "Product": "-",
        "Company": "-",
        "OriginalFileName": "-",
        "CommandLine": "a b",
        "CurrentDirectory": "/home",
        "User": "user",
        "LogonGuid": identity.logon_guid(0, 0, 1000),
        "LogonId": "1000",
        "TerminalSessionId": "4294967295",
        "IntegrityLevel": "no level",
        "Hashes": "-",
        "ParentProcessGuid": identity.process_guid(7, SECOND, 1),
        "ParentProcessId": "7",
        "ParentImage": "/sbin/parent",
        "ParentCommandLine": "parent -x",
        "ParentUser": "root",
    }


@pytest.mark.parametrize(
    "odd",
    [
        {"image": b"/bin/a&b"},
        {"args": b"a\0>b\0"},
        {"cwd": b"/home/\xc3\xa4"},
        {"uid": 1001},
    ],
)
def test_event_is_plain_when_all_its_texts_are(
    odd: dict[str, Any], context: Context
) -> None:
    assert built(context)[1]
    values, is_plain = built(context, **odd)
    assert not is_plain
    assert any(not text.isascii() or {*"&<>"} & {*text} for text in values)
    parent = record(tgid=50, start_boot_ns=SECOND, **odd)
    if "cwd" not in odd:
        context.processes.create(taken(parent, CREATE_FIELDS))
        child = {"parent_tgid": 50, "parent_start_boot_ns": SECOND}
        assert not built(context, tgid=43, **child)[1]


def test_unknown_parent_is_placeholders(context: Context) -> None:
    event = created(context)
    parent = [event[name] for name in event if name.startswith("Parent")]
    assert parent == [NO_GUID, "7", "-", "-", "-"]


def test_what_a_session_has_in_common_is_forgotten_with_renew(
    context: Context,
) -> None:
    assert created(context)["User"] == "user"
    context.users.names[1000] = "renamed"  # type: ignore[index]  # a dict here
    context.renew()
    assert created(context)["User"] == "renamed"


def test_sessions_that_are_kept_are_few(context: Context) -> None:
    for number in range(3000):
        event = created(context, cwd=b"/%d" % number, session_id=number)
        assert event["CurrentDirectory"] == f"/{number}"
        assert event["TerminalSessionId"] == str(number)
    assert len(context._sessions) <= 256


def test_logon_id_is_the_whole_uid(context: Context) -> None:
    event = created(context, uid=54321)
    assert (event["User"], event["LogonId"]) == ("-", "54321")


@pytest.mark.parametrize(
    ("flags", "tty_index", "second"),
    [(FLAGS["TTY_IS_PTS"], 3, 0x12345678), (FLAGS["TTY_IS_PTS"], 4, 0), (0, 3, 0)],
)
def test_logon_guid_is_of_the_session_on_the_terminal(
    flags: int, tty_index: int, second: int, context: Context
) -> None:
    event = created(context, flags=flags, tty_index=tty_index)
    guid = context.processes.identity.logon_guid(second, tty_index, 1000)
    assert event["LogonGuid"] == guid


def test_paths_without_their_front_begin_with_plus(context: Context) -> None:
    flags = FLAGS["CWD_TRUNCATED"] | FLAGS["IMAGE_TRUNCATED"]
    event = created(context, flags=flags, cwd=b"/c", image=b"/d/e")
    assert (event["CurrentDirectory"], event["Image"]) == ("+/c", "+/d/e")


def test_process_terminate_has_the_guid_of_its_image(context: Context) -> None:
    event = created(context)
    fields = taken(record(boot_ns=6 * SECOND), ACTOR_FIELDS)
    process = context.processes.terminate(fields)
    assert process is not None
    end_built = process_terminate(fields, process, context)
    assert end_built is not None
    end = named(5, end_built[0])
    assert end == {
        "RuleName": "-",
        "UtcTime": "2023-11-14 22:13:26.000",
        "ProcessGuid": event["ProcessGuid"],
        "ProcessId": "42",
        "Image": "/bin/a",
        "User": "user",
    }


def test_end_of_a_kernel_thread_is_no_event(context: Context) -> None:
    one = record(flags=FLAGS["KERNEL_THREAD"], image=b"")
    context.processes.fork(taken(one, FORK_FIELDS))
    fields = taken(one, ACTOR_FIELDS)
    process = context.processes.acting(fields)
    assert process_terminate(fields, process, context) is None


def test_time_follows_the_clock(context: Context) -> None:
    context.set_clock(BOOT_WALL_NS + 3600 * SECOND)
    assert context.utc(0) == "2023-11-14 23:13:20.000"
    assert context.utc(999_999) == "2023-11-14 23:13:20.000"
    assert context.utc(1_000_000) == "2023-11-14 23:13:20.001"
    assert context.utc(-1) == "2023-11-14 23:13:19.999"


def test_every_builder_makes_an_event_of_the_catalogue() -> None:
    ids = [event_id for pairs in BUILDERS.values() for event_id, _ in pairs]
    assert set(ids) <= EVENT_BY_ID.keys()
    assert {1, 5} <= set(ids)
