# SPDX-License-Identifier: MIT
from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from hypothesis import given
from support.enrichment import (
    SECOND,
    Built,
    complete,
    encode,
    make_context,
    make_maker,
    named,
)
from support.strategies import examples, randoms

from sysmonlx.capture.records import Layouts
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.registry import BUILDERS
from sysmonlx.processes.identity import NO_GUID
from sysmonlx.processes.launches import LIMIT, LIMIT_BYTES
from sysmonlx.schema.events import EVENT_BY_ID

BOOT_WALL_NS = 1_700_000_000 * SECOND


class Bench:
    """Takes records of processes, and makes their events."""

    def __init__(self, layouts: Layouts) -> None:
        self.layouts = layouts
        self.context = make_context(layouts, 0xABCD, BOOT_WALL_NS)
        self.processes = self.context.processes
        self._create = make_maker(layouts, self.context, "process_create", 1)
        self._terminate = make_maker(layouts, self.context, "process_terminate", 5)

    def built(self, **more: Any) -> Built:
        data = self.record(**more)
        process = self.processes.create(data)
        event = complete(self._create, data, process)
        assert event is not None
        return event[0], event[1] and process.launch.shape.has_plain_rest

    def created(self, **more: Any) -> dict[str, str]:
        """Return event 1 of such a record, by field names."""
        return named(1, self.built(**more)[0])

    def ended(self, **more: Any) -> Built | None:
        """Return event 5, of a process that has not ended yet."""
        data = encode(self.layouts, "process_terminate", **HEADER | more)
        process = self.processes.terminate(data)
        assert process is not None
        return complete(self._terminate, data, process)

    def record(self, **more: Any) -> bytes:
        return encode(self.layouts, "process_create", **HEADER | CREATE | more)

    def scan(self, **more: Any) -> None:
        data = encode(self.layouts, "process_scan", **HEADER | CREATE | more)
        self.processes.scan([data], 2 * SECOND)


@pytest.fixture
def bench(layouts: Layouts) -> Bench:
    return Bench(layouts)


@pytest.fixture
def context(bench: Bench) -> Context:
    return bench.context


HEADER = {
    "boot_ns": 5 * SECOND + 123_999_999,
    "start_boot_ns": 4 * SECOND,
    "tgid": 42,
    "uid": 1000,
    "exec_id": 2,
}
CREATE = {
    "parent_tgid": 7,
    "parent_start_boot_ns": SECOND,
    "parent_exec_id": 1,
    "session_id": 4294967295,
    "image": b"/bin/a",
    "args": b"a\0b\0",
    "cwd": b"/home",
    "comm": b"a",
}


def test_process_create_has_every_field(bench: Bench) -> None:
    bench.scan(
        tgid=7,
        start_boot_ns=SECOND,
        exec_id=1,
        uid=0,
        parent_tgid=0,
        image=b"/sbin/parent",
        args=b"parent\0-x\0",
    )
    identity = bench.processes.identity
    assert bench.created() == {
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
    odd: dict[str, Any], bench: Bench
) -> None:
    assert bench.built()[1]
    values, is_plain = bench.built(**odd)
    assert not is_plain
    assert any(not text.isascii() or {*"&<>"} & {*text} for text in values)
    parent = {"tgid": 50, "start_boot_ns": SECOND} | odd
    if "cwd" not in odd:
        bench.processes.create(bench.record(**parent))
        child = {"parent_tgid": 50, "parent_start_boot_ns": SECOND}
        assert not bench.built(tgid=43, **child)[1]


def test_unknown_parent_is_placeholders(bench: Bench) -> None:
    event = bench.created()
    parent = [event[name] for name in event if name.startswith("Parent")]
    assert parent == [NO_GUID, "7", "-", "-", "-"]


def test_what_a_session_has_in_common_is_forgotten_with_renew(
    bench: Bench,
) -> None:
    assert bench.created()["User"] == "user"
    users: Any = bench.context.users
    users.names[1000] = "renamed"
    bench.context.renew()
    assert bench.created()["User"] == "user"
    users.state += 1
    bench.context.renew()
    assert bench.created()["User"] == "renamed"


def test_long_command_lines_of_parents_do_not_gather(bench: Bench) -> None:
    """Each program has a parent of its own with a command line of 30,000 bytes."""
    launches = bench.processes.launches
    for number in range(200):
        tgid = 1000 + number
        bench.scan(tgid=tgid, start_boot_ns=SECOND, exec_id=1, args=b"a" * 30_000)
        parent = {"parent_tgid": tgid, "parent_start_boot_ns": SECOND}
        more = parent | {"parent_exec_id": 1, "tgid": 5000 + number}
        event = bench.created(cwd=b"/%d" % number, **more)
        assert len(event["ParentCommandLine"]) == 30_000
        assert len(launches) * 30_000 <= LIMIT_BYTES


def test_one_parent_with_a_long_command_line_counts_once(bench: Bench) -> None:
    bench.scan(tgid=7, start_boot_ns=SECOND, exec_id=1, args=b"a" * 30_000)
    for number in range(1000):
        bench.created(cwd=b"/%d" % number)
    assert len(bench.processes.launches) == 1000


def test_events_of_one_launch_differ_in_what_is_their_own(bench: Bench) -> None:
    bench.scan(tgid=7, start_boot_ns=SECOND, exec_id=1, uid=0, parent_tgid=0)
    one = bench.created()
    own = {"tgid": 43, "exec_id": 3, "boot_ns": 6 * SECOND, "args": b"a\0c\0"}
    other = bench.created(**own)
    differing = {name for name in one if one[name] != other[name]}
    assert differing == {"UtcTime", "ProcessGuid", "ProcessId", "CommandLine"}
    assert (other["ProcessId"], other["CommandLine"]) == ("43", "a c")


def test_events_of_one_launch_have_each_its_own_parent(bench: Bench) -> None:
    init = {"tgid": 7, "start_boot_ns": SECOND, "exec_id": 1, "uid": 0}
    bench.scan(**init, parent_tgid=0, image=b"/sbin/parent")
    parent = {"tgid": 50, "start_boot_ns": SECOND, "image": b"/bin/<p>"}
    bench.processes.create(bench.record(**parent))
    of = {"parent_tgid": 50, "parent_start_boot_ns": SECOND}
    nobody = {"parent_tgid": 99, "parent_start_boot_ns": SECOND}
    first, first_is_plain = bench.built()
    second, second_is_plain = bench.built(tgid=43, **of)
    third, third_is_plain = bench.built(tgid=44, **nobody)
    assert [first_is_plain, second_is_plain, third_is_plain] == [True, False, True]
    events = [named(1, each) for each in (first, second, third)]
    assert [e["ParentProcessId"] for e in events] == ["7", "50", "99"]
    assert [e["ParentImage"] for e in events] == ["/sbin/parent", "/bin/<p>", "-"]
    assert [e["ParentUser"] for e in events] == ["root", "user", "-"]


@pytest.mark.parametrize("image", [b"/sbin/parent", b"/bin/<p>"])
def test_many_of_one_parent_have_a_shape_of_their_own(
    image: bytes, bench: Bench
) -> None:
    """Until another has a child, or the parent becomes another user."""
    of = {"parent_tgid": 7, "parent_start_boot_ns": SECOND, "parent_uid": 0}
    init = {"tgid": 7, "start_boot_ns": SECOND, "exec_id": 1, "uid": 0}
    bench.scan(**init, parent_tgid=0, image=image)
    shapes, plain, events = [], [], []
    for number in range(40):
        more = {**of, "parent_uid": 1000} if number >= 20 else of
        if number >= 30:
            more = {"parent_tgid": 99}
        made, is_plain = bench.built(tgid=100 + number, **more)
        events.append(named(1, made))
        plain.append(is_plain)
        process = bench.processes.find(100 + number, 4 * SECOND)
        assert process is not None
        shapes.append(process.launch.shape)
    common = shapes[0]
    assert [each is common for each in shapes[:9]] == [True] * 8 + [False]
    assert len({*map(id, shapes)}) == 3
    assert shapes[8:20] == [shapes[8]] * 12
    assert shapes[20:28] + shapes[30:] == [common] * 18
    assert plain == [image == b"/sbin/parent"] * 30 + [True] * 10
    assert [e["ParentUser"] for e in events[::10]] == ["root", "root", "user", "-"]
    assert [e["ParentImage"] for e in events[19::10]] == [image.decode()] * 2 + ["-"]


def test_parent_that_becomes_another_user_is_shown_as_that(bench: Bench) -> None:
    bench.scan(tgid=7, start_boot_ns=SECOND, exec_id=1, uid=0, parent_tgid=0)
    assert bench.created()["ParentUser"] == "root"
    parent = {name: CREATE[name] for name in CREATE if name.startswith("parent_")}
    fork = HEADER | {"tgid": 43} | parent
    bench.processes.fork(encode(bench.layouts, "process_fork", **fork))
    event = bench.created(tgid=43, exec_id=3)
    assert event["ParentUser"] == "user"


def test_sessions_that_are_kept_are_few(bench: Bench) -> None:
    for number in range(3000):
        event = bench.created(cwd=b"/%d" % number, session_id=number)
        assert event["CurrentDirectory"] == f"/{number}"
        assert event["TerminalSessionId"] == str(number)
    assert len(bench.processes.launches._known) <= LIMIT


def test_logon_id_is_the_whole_uid(bench: Bench) -> None:
    event = bench.created(uid=54321)
    assert (event["User"], event["LogonId"]) == ("-", "54321")


@pytest.mark.parametrize(
    ("flags", "tty_index", "second"),
    [("TTY_IS_PTS", 3, 0x12345678), ("TTY_IS_PTS", 4, 0), ("", 3, 0)],
)
def test_logon_guid_is_of_the_session_on_the_terminal(
    flags: str, tty_index: int, second: int, bench: Bench
) -> None:
    event = bench.created(flags=flags, tty_index=tty_index)
    guid = bench.processes.identity.logon_guid(second, tty_index, 1000)
    assert event["LogonGuid"] == guid


def test_paths_without_their_front_begin_with_plus(bench: Bench) -> None:
    flags = "CWD_TRUNCATED IMAGE_TRUNCATED"
    event = bench.created(flags=flags, cwd=b"/c", image=b"/d/e")
    assert (event["CurrentDirectory"], event["Image"]) == ("+/c", "+/d/e")


def test_process_terminate_has_the_guid_of_its_image(bench: Bench) -> None:
    event = bench.created()
    end_built = bench.ended(boot_ns=6 * SECOND)
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


def test_end_of_a_kernel_thread_is_no_event(bench: Bench) -> None:
    fork = encode(bench.layouts, "process_fork", **HEADER, flags="KERNEL_THREAD")
    bench.processes.fork(fork)
    assert bench.ended() is None


@given(chance=randoms())
@examples(20)
def test_times_are_those_of_the_calendar_in_any_order(
    layouts: Layouts, chance: Random
) -> None:
    context = make_context(layouts, offset_ns=BOOT_WALL_NS + 123_456_789)
    for _ in range(30):
        wall_ns = BOOT_WALL_NS + chance.choice([1, SECOND, 10**16]) * chance.randint(
            0, 9
        )
        wall_ns += chance.choice([-1, 0, 999_999, 999_999_999])
        second, rest_ns = divmod(wall_ns, SECOND)
        date = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")
        shown = f"{date}.{rest_ns // 1_000_000:03d}"
        if chance.random() < 0.5:
            assert context.utc_of_wall(wall_ns) == shown
        else:
            assert context.utc(wall_ns - BOOT_WALL_NS - 123_456_789) == shown


def test_time_follows_the_clock(context: Context) -> None:
    context.set_clock(BOOT_WALL_NS + 3600 * SECOND)
    assert context.utc(0) == "2023-11-14 23:13:20.000"
    assert context.utc(999_999) == "2023-11-14 23:13:20.000"
    assert context.utc(1_000_000) == "2023-11-14 23:13:20.001"
    assert context.utc(-1) == "2023-11-14 23:13:19.999"


def test_every_builder_makes_an_event_of_the_schema() -> None:
    ids = [event_id for pairs in BUILDERS.values() for event_id, _ in pairs]
    assert set(ids) <= EVENT_BY_ID.keys()
    assert {1, 5} <= set(ids)
