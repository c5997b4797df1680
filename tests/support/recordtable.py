# SPDX-License-Identifier: MIT
"""A process table that takes records as the tests write them."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from sysmonlx.capture.records import Layouts
from sysmonlx.processes.identity import Identity
from sysmonlx.processes.process import Process
from sysmonlx.processes.table import ProcessTable

SECOND = 1_000_000_000
NO_UID = 0xFFFFFFFF  # of ebpf/record.h


def image_id(tgid: int, start_boot_ns: int, exec_id: int) -> int:
    """Return what image_id_of() in record.h makes of these."""
    fork = (start_boot_ns << 22 | tgid & 0x3FFFFF) & (1 << 52) - 1
    return fork << 12 | exec_id & 0xFFF


def record(**more: Any) -> SimpleNamespace:
    """Return a record of process 10, forked by process 1, with these differences."""
    values = {
        "boot_ns": 50 * SECOND,
        "start_boot_ns": 40 * SECOND,
        "tgid": 10,
        "uid": 0,
        "exec_id": 1,
        "parent_tgid": 1,
        "parent_start_boot_ns": SECOND,
        "parent_exec_id": 1,
        "parent_uid": NO_UID,
        "mount_namespace": 2,
        "flags": 0,
        "image": b"/bin/program",
        "args": b"program\0",
        "cwd": b"/",
        "tty_index": 0,
        "session_id": 0,
        "comm": b"program",
    }
    return SimpleNamespace(**(values | more))


INIT = record(
    tgid=1,
    start_boot_ns=SECOND,
    parent_tgid=0,
    parent_start_boot_ns=0,
    image=b"/sbin/init",
    args=b"init\0",
)


class Table(ProcessTable):
    """Makes bytes of whole records: of each the fields that its type has."""

    def __init__(self, identity: Identity, layouts: Layouts) -> None:
        super().__init__(identity, layouts)
        self._layouts = layouts.by_name

    def encoded(self, name: str, one: SimpleNamespace) -> bytes:
        layout = self._layouts[name]
        values = {k: v for k, v in vars(one).items() if k in layout.fields}
        if "image_id" in layout.fields:
            values["image_id"] = image_id(one.tgid, one.start_boot_ns, one.exec_id)
        return layout.encode(**values)

    def acting(self, data: Any) -> Process:
        if isinstance(data, SimpleNamespace):
            data = self.encoded("process_access", data)
        return super().acting(data)

    def fork(self, data: Any) -> None:
        super().fork(self.encoded("process_fork", data))

    def forked(self, data: Any) -> Process:
        self.fork(data)
        process = self.alive(data.tgid)
        assert process is not None
        return process

    def create(self, data: Any) -> Process:
        return super().create(self.encoded("process_create", data))

    def terminate(self, data: Any) -> Process | None:
        return super().terminate(self.encoded("process_terminate", data))

    def scan(self, records: Iterable[Any], boot_ns: int) -> None:
        super().scan([self.encoded("process_scan", r) for r in records], boot_ns)
