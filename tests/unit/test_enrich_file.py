# SPDX-License-Identifier: MIT
from __future__ import annotations

import stat
from types import SimpleNamespace
from typing import Any

import pytest

from sysmonlx.catalogue import EVENT_BY_ID
from sysmonlx.enrich import Context
from sysmonlx.enrich_file import FILE_BUILDERS, FILE_FIELDS, PROGRAM_TYPES
from sysmonlx.process import NO_GUID, Identity
from sysmonlx.processes import ProcessTable
from sysmonlx.ruleset import Settings

NAMES = (
    "KERNEL_THREAD ARGS_TRUNCATED IMAGE_TRUNCATED CWD_TRUNCATED TTY_IS_PTS "
    "PATH_TRUNCATED PATH_GIVEN PATH_UNREADABLE FILE_IS_NEW"
)
FLAGS = {name: 1 << number for number, name in enumerate(NAMES.split())}
SECOND = 10**9
PLACE = {"mount_namespace": 7, "root": b"", "base": b"/base"}


class Users:
    def __init__(self) -> None:
        self.names = {0: "root", 1000: "user"}

    def renew(self) -> None: ...

    def logon_second(self, uid: int, tty_index: int, *, is_pts: bool) -> int:
        return 0


class Ports:
    def port_name(self, port: int, protocol: str) -> str:
        return "-"

    def renew(self) -> None: ...


class Names:
    """A file system of one answer; remembers what it was asked."""

    def __init__(self, mode: int = 0, birth_ns: int = 0) -> None:
        self.answer = (mode, birth_ns)
        self.asked: list[Any] = []

    def path(self, place: tuple[int, int, bytes], base: bytes, path: bytes) -> bytes:
        self.asked.append((place, base, path))
        return b"/resolved"

    def state(self, place: tuple[int, int, bytes], path: bytes) -> tuple[int, int]:
        self.asked.append((place, path))
        return self.answer


def header(**more: Any) -> SimpleNamespace:
    values = {
        "boot_ns": 5 * SECOND,
        "start_boot_ns": 1 * SECOND,
        "tgid": 42,
        "tid": 43,
        "uid": 1000,
        "exec_id": 1,
        "pid_namespace": 1,
        "mount_namespace": 1,
        "namespace_tgid": 42,
        "flags": 0,
    }
    return SimpleNamespace(**{**values, **more})


def build(
    name: str, event_id: int, record: Any, names: Names | None = None
) -> dict[str, str] | None:
    """Build an event and return its fields by name."""
    table = ProcessTable(Identity(1, 0), FLAGS)
    context = Context(table, Users(), Ports(), Settings(), 0, names or Names())
    builder = dict(FILE_BUILDERS[name])[event_id]
    read = tuple(getattr(record, each) for each in FILE_FIELDS[name])
    built = builder(read, table.acting(read), context)
    if built is None:
        return None
    values, is_plain = built
    assert not (is_plain and any("&" in text for text in values))
    fields = [field.name for field in EVENT_BY_ID[event_id].fields]
    assert len(fields) == len(values)
    return dict(zip(fields, values, strict=True))


def file_record(**more: Any) -> SimpleNamespace:
    values = {"created_ns": 0, "mode": 0, "path": b"/a/file", **PLACE}
    return header(**{**values, **more})


def test_a_created_file_has_its_own_time() -> None:
    event = build("file_create", 11, file_record(created_ns=3 * SECOND + 999_999))
    assert event is not None
    assert event["TargetFilename"] == "/a/file"
    assert event["UtcTime"] == "1970-01-01 00:00:05.000"
    assert event["CreationUtcTime"] == "1970-01-01 00:00:03.000"
    assert event["User"] == "user"
    assert event["ProcessId"] == "42"


def test_a_name_as_given_is_resolved() -> None:
    names = Names(stat.S_IFREG | 0o644, 2 * SECOND)
    record = file_record(path=b"x/../file", flags=FLAGS["PATH_GIVEN"])
    event = build("file_create", 11, record, names)
    assert event is not None
    assert event["TargetFilename"] == "/resolved"
    assert event["CreationUtcTime"] == "1970-01-01 00:00:02.000"
    assert names.asked == [
        ((42, 7, b""), b"/base", b"x/../file"),
        ((42, 7, b""), b"/resolved"),
    ]


@pytest.mark.parametrize("kind", [stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO])
def test_what_is_no_regular_file_is_no_event(kind: int) -> None:
    record = file_record(flags=FLAGS["PATH_GIVEN"])
    assert build("file_create", 11, record, Names(kind | 0o755, SECOND)) is None


@pytest.mark.parametrize(
    ("flag", "created"),
    [("PATH_GIVEN", "-"), ("FILE_IS_NEW", "1970-01-01 00:00:05.000")],
)
def test_an_unknown_birth_is_not_guessed(flag: str, created: str) -> None:
    event = build("file_create", 11, file_record(flags=FLAGS[flag]))
    assert event is not None
    assert event["CreationUtcTime"] == created


def test_a_path_that_could_not_be_read_is_unknown() -> None:
    flags = FLAGS["PATH_GIVEN"] | FLAGS["PATH_UNREADABLE"]
    event = build("file_delete", 23, file_record(flags=flags, path=b""))
    assert event is not None
    assert event["TargetFilename"] == "-"


@pytest.mark.parametrize(
    ("mode", "executable"),
    [
        (0, "-"),
        (stat.S_IFREG | 0o644, "false"),
        (stat.S_IFREG | 0o001, "true"),
        (stat.S_IFLNK | 0o777, "false"),
    ],
)
def test_executable_is_an_x_bit_of_a_regular_file(mode: int, executable: str) -> None:
    for event_id in (23, 26):
        event = build("file_delete", event_id, file_record(mode=mode))
        assert event is not None
        assert event["IsExecutable"] == executable
        assert event["Hashes"] == "-"
        assert event.get("Archived", "-") == "-"


def test_a_truncated_path_is_marked() -> None:
    record = file_record(flags=FLAGS["PATH_TRUNCATED"])
    event = build("file_delete", 26, record)
    assert event is not None
    assert event["TargetFilename"] == "+/a/file"


def test_a_device() -> None:
    event = build("raw_access_read", 9, header(path=b"/dev/sda"))
    assert event is not None
    assert event["Device"] == "/dev/sda"
    assert event["User"] == "user"


def access(**more: Any) -> SimpleNamespace:
    values = {
        "target_tgid": 0,
        "target_start_boot_ns": 0,
        "target_exec_id": 0,
        "target_uid": 0,
        "given_pid": 77,
        "granted_access": 0x1FFFFF,
    }
    return header(**{**values, **more})


def test_a_target_that_has_gone_is_the_id_given() -> None:
    event = build("process_access", 10, access())
    assert event is not None
    assert event["TargetProcessId"] == "77"
    assert event["TargetProcessGUID"] == NO_GUID
    assert event["TargetImage"] == event["TargetUser"] == "-"
    assert event["GrantedAccess"] == "0x1fffff"
    assert event["SourceThreadId"] == "43"


def test_a_target_is_its_process() -> None:
    record = access(
        target_tgid=42, target_start_boot_ns=SECOND, target_exec_id=1, given_pid=2
    )
    event = build("process_access", 10, record)
    assert event is not None
    assert event["TargetProcessId"] == "42"
    assert event["TargetProcessGUID"] == event["SourceProcessGUID"] != NO_GUID
    assert event["TargetUser"] == "root"


@pytest.mark.parametrize(
    ("number", "name"), [(0, "UNSPEC"), (6, "XDP"), (32, "NETFILTER"), (33, "UNKNOWN")]
)
def test_a_program_has_its_types_name(number: int, name: str) -> None:
    record = header(program_id=9, program_type=number, name=b"")
    event = build("bpf_program_load", 100, record)
    assert event is not None
    assert event["BpfProgramType"] == name
    assert event["BpfProgramId"] == "9"
    assert event["BpfProgramName"] == "-"
    assert event["BpfCommand"] == "BPF_PROG_LOAD"


def test_every_program_type_has_a_name() -> None:
    assert len(PROGRAM_TYPES) == len(set(PROGRAM_TYPES)) == 33
