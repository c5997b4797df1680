# SPDX-License-Identifier: MIT
"""What builders ask, answered by tests, and the events that they make."""

from __future__ import annotations

from typing import Any

from support.recordtable import NO_UID, image_id

from sysmonlx.capture.records import Layouts
from sysmonlx.enrich.builder import Maker
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.registry import BUILDERS
from sysmonlx.policy import Settings
from sysmonlx.processes.identity import Identity
from sysmonlx.processes.process import Process
from sysmonlx.processes.table import ProcessTable
from sysmonlx.schema.events import EVENT_BY_ID

SECOND = 1_000_000_000

#: Values as texts, and whether all are plain.
Built = tuple[list[str], bool]


class Users:
    """Knows root and some users, of whom one logged in on pts/3."""

    def __init__(self) -> None:
        self.names = {0: "root", 1000: "user", 54321: "-", 1001: "a<b"}
        self.state = 0

    def renew(self) -> None: ...

    def logon_second(self, uid: int, tty_index: int, *, is_pts: bool) -> int:
        return 0x12345678 if (uid, tty_index, is_pts) == (1000, 3, True) else 0


class Ports:
    def port_name(self, port: int, protocol: str) -> str:
        return "-"

    def renew(self) -> None: ...


class Paths:
    """A file system of one answer; remembers what it was asked."""

    def __init__(self, mode: int = 0, birth_ns: int = 0) -> None:
        self.answer = (mode, birth_ns)
        self.asked: list[Any] = []

    def path(
        self, place: tuple[int, int, bytes], base: bytes, path: bytes, uid: int = 0
    ) -> bytes:
        self.asked.append((place, base, path))
        return b"/resolved"

    def as_given(
        self, place: tuple[int, int, bytes], base: bytes, path: bytes
    ) -> bytes:
        return place[2] + path if path.startswith(b"/") else base + b"/" + path

    def state(self, place: tuple[int, int, bytes], path: bytes) -> tuple[int, int]:
        self.asked.append((place, path))
        return self.answer


class Groups:
    """Control groups that a test has made."""

    def __init__(self) -> None:
        self.paths: dict[int, bytes] = {}

    def made(self, number: int, path: bytes) -> None:
        self.paths[number] = path

    def path(self, number: int) -> bytes:
        return self.paths.get(number, b"")

    def expect_all(self) -> None: ...


def make_context(
    layouts: Layouts, machine: int = 1, offset_ns: int = 0, paths: Paths | None = None
) -> Context:
    table = ProcessTable(Identity(machine, offset_ns), layouts)
    return Context(
        table, Users(), Ports(), Settings(), offset_ns, paths or Paths(), Groups()
    )


def encode(layouts: Layouts, name: str, /, **values: Any) -> bytes:
    """Return a record with its type; `flags` are names."""
    flags = sum(layouts.flags[flag] for flag in values.pop("flags", "").split())
    if flags:
        values["flags"] = flags
    layout = layouts.by_name[name]
    if "image_id" in layout.fields:
        who = (values.get(each, 0) for each in ("tgid", "start_boot_ns", "exec_id"))
        values = {"parent_uid": NO_UID} | values | {"image_id": image_id(*who)}
    return layout.encode(type=layouts.number[name], **values)


def make_maker(layouts: Layouts, context: Any, name: str, event_id: int) -> Maker:
    return dict(BUILDERS[name])[event_id](layouts.by_name[name], context)


def complete(maker: Maker, data: bytes, process: Process) -> Built | None:
    """Return an event after both steps; check what each may leave to the other."""
    values = maker.make(data, process)
    late = [at for at, value in enumerate(values) if not isinstance(value, str)]
    assert late == sorted(maker.late)
    first = list(values)
    is_plain = maker.finish(values, data, process)
    if is_plain is None:
        return None
    assert all(isinstance(value, str) for value in values)
    assert len(values) == len(first)
    changed = [at for at, value in enumerate(values) if value != first[at]]
    assert changed == late
    return values, is_plain


def named(event_id: int, values: list[str]) -> dict[str, str]:
    names = [field.name for field in EVENT_BY_ID[event_id].fields]
    return dict(zip(names, values, strict=True))
