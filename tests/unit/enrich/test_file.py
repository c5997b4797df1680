# SPDX-License-Identifier: MIT
from __future__ import annotations

import stat
from collections.abc import Callable
from typing import Any

import pytest
from support.enrichment import (
    SECOND,
    Paths,
    complete,
    encode,
    make_context,
    make_maker,
    named,
)

from sysmonlx.capture.records import Layouts
from sysmonlx.processes.identity import NO_GUID
from sysmonlx.schema.field_values import PROGRAM_TYPES

#: Builds an event of a record, and returns its fields by name.
Build = Callable[..., dict[str, str] | None]

HEADER = {
    "boot_ns": 5 * SECOND,
    "start_boot_ns": 1 * SECOND,
    "tgid": 42,
    "tid": 43,
    "uid": 1000,
    "exec_id": 1,
}
FILE = {"path": b"/a/file", "mount_namespace": 7, "base": b"/base"}


@pytest.fixture
def build(layouts: Layouts) -> Build:
    def built(
        name: str, event_id: int, paths: Paths | None = None, **values: Any
    ) -> dict[str, str] | None:
        context = make_context(layouts, paths=paths or Paths())
        usual = HEADER | (FILE if name.startswith("file_") else {})
        data = encode(layouts, name, **usual | values)
        maker = make_maker(layouts, context, name, event_id)
        event = complete(maker, data, context.processes.acting(data))
        if event is None:
            return None
        texts, is_plain = event
        assert not (is_plain and any("&" in text for text in texts))
        return named(event_id, texts)

    return built


def test_a_created_file_has_its_own_time(build: Build) -> None:
    event = build("file_create", 11, created_ns=3 * SECOND + 999_999)
    assert event is not None
    assert event["TargetFilename"] == "/a/file"
    assert event["UtcTime"] == "1970-01-01 00:00:05.000"
    assert event["CreationUtcTime"] == "1970-01-01 00:00:03.000"
    assert event["User"] == "user"
    assert event["ProcessId"] == "42"


def test_a_name_as_given_is_resolved(build: Build) -> None:
    paths = Paths(stat.S_IFREG | 0o644, 2 * SECOND)
    given = {"path": b"x/../file", "flags": "PATH_GIVEN"}
    event = build("file_create", 11, paths, **given)
    assert event is not None
    assert event["TargetFilename"] == "/resolved"
    assert event["CreationUtcTime"] == "1970-01-01 00:00:02.000"
    assert paths.asked == [
        ((42, 7, b""), b"/base", b"x/../file"),
        ((42, 7, b""), b"/resolved"),
    ]


NO_FILES = [stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO]


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_the_kernel_side_calls_no_regular_file_is_no_event(
    kind: int, build: Build
) -> None:
    paths = Paths(stat.S_IFREG | 0o755, SECOND)
    assert build("file_create", 11, paths, mode=kind) is None


@pytest.mark.parametrize("kind", [0, stat.S_IFREG])
@pytest.mark.parametrize("found", NO_FILES)
def test_what_is_found_afterwards_proves_nothing(
    found: int, kind: int, build: Build
) -> None:
    paths = Paths(found | 0o755, SECOND)
    event = build("file_create", 11, paths, flags="PATH_GIVEN", mode=kind)
    assert event is not None
    assert event["CreationUtcTime"] == "-"


@pytest.mark.parametrize(
    ("flag", "created"),
    [("PATH_GIVEN", "-"), ("FILE_IS_NEW", "1970-01-01 00:00:05.000")],
)
def test_an_unknown_birth_is_not_guessed(flag: str, created: str, build: Build) -> None:
    event = build("file_create", 11, flags=flag)
    assert event is not None
    assert event["CreationUtcTime"] == created


def test_a_path_that_could_not_be_read_is_unknown(build: Build) -> None:
    flags = "PATH_GIVEN PATH_UNREADABLE"
    event = build("file_delete", 23, flags=flags, path=b"")
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
def test_executable_is_an_x_bit_of_a_regular_file(
    mode: int, executable: str, build: Build
) -> None:
    for event_id in (23, 26):
        event = build("file_delete", event_id, mode=mode)
        assert event is not None
        assert event["IsExecutable"] == executable
        assert event["Hashes"] == "-"
        assert event.get("Archived", "-") == "-"


def test_a_truncated_path_is_marked(build: Build) -> None:
    event = build("file_delete", 26, flags="PATH_TRUNCATED")
    assert event is not None
    assert event["TargetFilename"] == "+/a/file"


CUT = b"/a/..." + b"z/file"


@pytest.mark.parametrize(
    ("flags", "path", "shown"),
    [
        ("PATH_SHORTENED", CUT, "/a/...z/file"),
        ("PATH_SHORTENED PATH_TRUNCATED", CUT, "+/a/...z/file"),
        ("PATH_SHORTENED PATH_GIVEN", CUT, "/root/a/...z/file"),
        ("PATH_SHORTENED PATH_GIVEN", b"a/...z/file", "/base/a/...z/file"),
    ],
)
def test_nothing_is_looked_up_by_a_path_without_its_middle(
    flags: str, path: bytes, shown: str, build: Build
) -> None:
    paths = Paths(stat.S_IFREG | 0o644, 2 * SECOND)
    event = build("file_create", 11, paths, flags=flags, path=path, root=b"/root")
    assert event is not None
    assert event["TargetFilename"] == shown
    assert event["CreationUtcTime"] == "-"
    kind = NO_FILES[0]
    assert build("file_create", 11, paths, flags=flags, path=path, mode=kind) is None
    assert paths.asked == []


@pytest.mark.parametrize(
    ("flags", "path", "asked"),
    [
        ("", b"/a/file", b"/a/file"),
        ("", b"/a/\xff&", b"/a/\xff&"),
        ("PATH_TRUNCATED", b"/file", b"/file"),
        ("PATH_UNREADABLE", b"", b""),
    ],
)
def test_a_birth_is_asked_for_by_the_bytes_of_the_record(
    flags: str, path: bytes, asked: bytes, build: Build
) -> None:
    paths = Paths(stat.S_IFREG | 0o644, 2 * SECOND)
    event = build("file_create", 11, paths, flags=flags, path=path)
    assert event is not None
    assert event["CreationUtcTime"] == "1970-01-01 00:00:02.000"
    assert paths.asked == [((42, 7, b""), asked)]


def test_a_birth_that_the_record_tells_is_not_asked_for(build: Build) -> None:
    paths = Paths(stat.S_IFDIR | 0o755, 2 * SECOND)
    event = build("file_create", 11, paths, created_ns=3 * SECOND)
    assert event is not None
    assert event["CreationUtcTime"] == "1970-01-01 00:00:03.000"
    assert paths.asked == []


def test_a_device(build: Build) -> None:
    event = build("raw_access_read", 9, path=b"/dev/sda")
    assert event is not None
    assert event["Device"] == "/dev/sda"
    assert event["User"] == "user"


def test_a_target_that_has_gone_is_the_id_given(build: Build) -> None:
    access = {"given_pid": 77, "granted_access": 0x1FFFFF}
    event = build("process_access", 10, **access)
    assert event is not None
    assert event["TargetProcessId"] == "77"
    assert event["TargetProcessGUID"] == NO_GUID
    assert event["TargetImage"] == event["TargetUser"] == "-"
    assert event["GrantedAccess"] == "0x1fffff"
    assert event["SourceThreadId"] == "43"


def test_a_target_is_its_process(build: Build) -> None:
    target = {"target_tgid": 42, "target_start_boot_ns": SECOND, "target_exec_id": 1}
    access = {"given_pid": 2, "granted_access": 0x1FFFFF}
    event = build("process_access", 10, **target, **access)
    assert event is not None
    assert event["TargetProcessId"] == "42"
    assert event["TargetProcessGUID"] == event["SourceProcessGUID"] != NO_GUID
    assert event["TargetUser"] == "root"


@pytest.mark.parametrize(
    ("number", "name"), [(0, "UNSPEC"), (6, "XDP"), (32, "NETFILTER"), (33, "UNKNOWN")]
)
def test_a_program_has_its_types_name(number: int, name: str, build: Build) -> None:
    program = {"program_id": 9, "program_type": number}
    event = build("bpf_program_load", 100, **program)
    assert event is not None
    assert event["BpfProgramType"] == name
    assert event["BpfProgramId"] == "9"
    assert event["BpfProgramName"] == "-"
    assert event["BpfCommand"] == "BPF_PROG_LOAD"


def test_every_program_type_has_a_name() -> None:
    assert len(PROGRAM_TYPES) == len(set(PROGRAM_TYPES)) == 33
