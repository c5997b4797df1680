# SPDX-License-Identifier: MIT
"""The process table: who a (tgid, start time) is, which image it runs, who forked it.

Fed by the records of fork, exec and exit, and by scans of the running tasks; events
find here the image, GUID and parent of the process that acted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sysmonlx.decode import Record

NO_GUID = "{00000000-0000-0000-0000-000000000000}"
UNKNOWN = "-"

#: How long an ended process can still be found, and how many of them.
GRACE_NS = 60_000_000_000
ENDED_LIMIT = 512

#: Unknown processes make the table scan again, at most this often.
RESCAN_INTERVAL_NS = 100_000_000

_SECOND_NS = 1_000_000_000
_TEXTS_LIMIT = 2048
_TEXT_BYTES = 256


class Identity:
    """Makes GUIDs: `{machine-low second-high second-key}` with a key that is unique.

    `machine` is the first half of the machine id, `offset_ns` the wall clock at boot,
    fixed for the whole boot. The 64-bit key holds the nanosecond within the second of
    the start (30 bits), the tgid (22) and the exec id (12).
    """

    def __init__(self, machine: int, offset_ns: int) -> None:
        self._machine = machine
        self._offset_ns = offset_ns
        self._second = -1
        self._begin = ""

    def process_guid(self, tgid: int, start_boot_ns: int, exec_id: int) -> str:
        """Return the ProcessGuid of one image of one process."""
        second, ns = divmod(start_boot_ns + self._offset_ns, _SECOND_NS)
        key = ns << 34 | (tgid & 0x3FFFFF) << 12 | (exec_id & 0xFFF)
        return self._guid(second, key)

    def logon_guid(self, second: int, tty_index: int, uid: int) -> str:
        """Return the LogonGuid of a user on a terminal; `second` 0 is unknown."""
        return self._guid(second, (tty_index & 0xFFFFFFFF) << 32 | uid)

    def _guid(self, second: int, key: int) -> str:
        if second != self._second:
            self._second = second
            low, high = second & 0xFFFF, second >> 16 & 0xFFFF
            self._begin = f"{{{self._machine:08x}-{low:04x}-{high:04x}-"
        return f"{self._begin}{key.to_bytes(8, 'little').hex('-', 6)}}}"


class Process:
    """One image of one process; `hold` has its events while one of them must wait."""

    __slots__ = (
        "_guid",
        "args",
        "ended_boot_ns",
        "exec_id",
        "has_exited",
        "hold",
        "identity",
        "image",
        "is_kernel_thread",
        "parent",
        "previous",
        "start_boot_ns",
        "tgid",
        "uid",
    )

    def __init__(
        self, identity: Identity, record: Record, image: str, args: str
    ) -> None:
        self.identity = identity
        self.tgid: int = record.tgid
        self.start_boot_ns: int = record.start_boot_ns
        self.exec_id: int = record.exec_id
        self.uid: int = record.uid
        self.is_kernel_thread = False
        self.image = image
        self.args = args
        self.parent: Process | None = None
        self.previous: Process | None = None
        self.ended_boot_ns = 0
        self.has_exited = False
        self.hold: deque[Any] | None = None
        self._guid = ""

    @property
    def guid(self) -> str:
        """ProcessGuid of this image."""
        if not self._guid:
            self._guid = self.identity.process_guid(
                self.tgid, self.start_boot_ns, self.exec_id
            )
        return self._guid

    @property
    def is_alive(self) -> bool:
        """Whether its end has not been seen."""
        return self.ended_boot_ns == 0


def text(data: bytes) -> str:
    """Return bytes of the kernel as text, "-" when there are none."""
    return data.decode("utf-8", "surrogateescape") if data else UNKNOWN


class Texts(dict[bytes, str]):
    """Text of bytes, one object for those that recur: images and directories do.

    Long ones, which a hostile program may make many of, are not kept.
    """

    def __missing__(self, data: bytes) -> str:
        found = text(data)
        if len(data) <= _TEXT_BYTES:
            if len(self) >= _TEXTS_LIMIT:
                self.clear()
            self[data] = found
        return found


def path_text(data: bytes, truncated: bool) -> str:
    """Return a path; one whose front is missing begins with "+", as Sysmon shows it."""
    return ("+" if truncated else "") + text(data)


def args_text(data: bytes, truncated: bool) -> str:
    """Return a command line: arguments joined by blanks, "-" when there are none.

    A longer one than the kernel side takes ends in "...".
    """
    if not data:
        return UNKNOWN
    if truncated:
        data = data[:-3] + b"..."
    elif data.endswith(b"\0"):
        data = data[:-1]
    return data.replace(b"\0", b" ").decode("utf-8", "surrogateescape")


class ProcessTable:
    """All processes alive, and for a grace period those that have ended.

    `flags` are the values of `enum record_flag` by name. `rescan` is called when a
    record names a process that is not here (its own record was lost); it calls `scan`.
    """

    rescan: Callable[[], None] | None = None

    def __init__(self, identity: Identity, flags: dict[str, int]) -> None:
        self.identity = identity
        self._alive: dict[int, Process] = {}
        self._ended: dict[tuple[int, int], Process] = {}
        self._expiry: deque[Process] = deque()
        self.flags = flags
        self._kernel_thread = flags["KERNEL_THREAD"]
        self._args_truncated = flags["ARGS_TRUNCATED"]
        self._image_truncated = flags["IMAGE_TRUNCATED"]
        self._unusual = (
            self._kernel_thread | self._args_truncated | self._image_truncated
        )
        self.texts = Texts()
        self._rescan_due_ns = 0
        self.unknown = 0
        """Records that named a process of which not even a scan knew."""

    def __len__(self) -> int:
        return len(self._alive) + len(self._ended)

    def __iter__(self) -> Iterator[Process]:
        yield from tuple(self._alive.values())
        yield from tuple(self._ended.values())

    def find(self, tgid: int, start_boot_ns: int, exec_id: int = -1) -> Process | None:
        """Return the process, of `exec_id` where that image is still known."""
        process = self._alive.get(tgid)
        if process is None or process.start_boot_ns != start_boot_ns:
            process = self._ended.get((tgid, start_boot_ns))
            if process is None:
                return None
        if exec_id not in (-1, process.exec_id):
            previous = process.previous
            if previous is not None and previous.exec_id == exec_id:
                return previous
        return process

    def alive(self, tgid: int) -> Process | None:
        """Return the process that has this tgid now."""
        return self._alive.get(tgid)

    def acting(self, record: Record) -> Process:
        """Return who acted; never fails: an unknown one is made from the header."""
        process = self._alive.get(record.tgid)
        if (
            process is not None
            and process.exec_id == record.exec_id
            and process.start_boot_ns == record.start_boot_ns
        ):
            return process
        process = self._known(record, record.tgid, record.start_boot_ns, record.exec_id)
        if process is None:
            process = Process(self.identity, record, UNKNOWN, UNKNOWN)
            self._insert(process)
        return process

    def fork(self, record: Record) -> Process:
        """Take a new process: it runs its parent's image until it execs."""
        parent_tgid, start_boot_ns = record.parent_tgid, record.parent_start_boot_ns
        exec_id = record.parent_exec_id
        parent = self.find(parent_tgid, start_boot_ns, exec_id) or self._known(
            record, parent_tgid, start_boot_ns, exec_id
        )
        if parent is not None:
            parent.uid = record.uid  # it may have called setuid since its exec
        known = self._alive.get(record.tgid)
        if known is not None and known.start_boot_ns == record.start_boot_ns:
            known.parent = parent or known.parent
            return known
        image = parent.image if parent else UNKNOWN
        args = parent.args if parent else UNKNOWN
        process = Process(self.identity, record, image, args)
        if record.flags & self._kernel_thread:
            process.is_kernel_thread = True
        process.parent = parent
        self._insert(process)
        return process

    def create(self, record: Record) -> Process:
        """Take a new image of a process."""
        before = self.find(record.tgid, record.start_boot_ns)
        parent = before and before.parent
        if parent is None:
            parent = self._parent_of(record)
            # Looking for the parent may have found the process itself.
            before = self.find(record.tgid, record.start_boot_ns)
        process = self._from_record(record)
        process.parent = parent
        if before is None:
            self._insert(process)
        elif before.exec_id <= process.exec_id:
            self._supersede(before, process)
            self._insert(process)
        else:  # a scan was ahead of this record
            before.hold = process.hold = deque() if before.hold is None else before.hold
            self._replace_previous(before, process)
        return process

    def _supersede(self, before: Process, process: Process) -> None:
        process.hold = before.hold
        if before.exec_id == process.exec_id:
            self._replace_previous(process, before.previous)
            return
        if before.previous is not None:
            self._replace_previous(before, None)
        process.previous = before

    def _replace_previous(self, process: Process, previous: Process | None) -> None:
        """Keep one image before the present one; older ones keep no ancestors."""
        if process.previous is not None:
            process.previous.parent = process.previous.previous = None
        process.previous = previous

    def terminate(self, record: Record) -> Process | None:
        """Take the end of a process; None when it was taken before."""
        process = self.acting(record)
        if process.has_exited:
            return None
        process.has_exited = True
        if process.is_alive:  # else a scan was ahead of this record
            self._end(process, record.boot_ns)
        return process

    def _end(self, process: Process, boot_ns: int) -> None:
        process.ended_boot_ns = boot_ns or 1
        if self._alive.get(process.tgid) is process:
            del self._alive[process.tgid]
        self._ended[process.tgid, process.start_boot_ns] = process
        self._expiry.append(process)
        if len(self._expiry) > ENDED_LIMIT:
            self._forget(self._expiry.popleft())

    def _forget(self, process: Process) -> None:
        """Drop an ended process, so that it does not keep its ancestors."""
        key = (process.tgid, process.start_boot_ns)
        if self._ended.get(key) is process:
            del self._ended[key]
        self._replace_previous(process, None)
        process.parent = None

    def expire(self, boot_ns: int) -> None:
        """Forget processes that ended more than the grace period before `boot_ns`."""
        while self._expiry and self._expiry[0].ended_boot_ns < boot_ns - GRACE_NS:
            self._forget(self._expiry.popleft())

    def _insert(self, process: Process) -> None:
        other = self._alive.get(process.tgid)
        if other is not None and other.start_boot_ns != process.start_boot_ns:
            if other.start_boot_ns > process.start_boot_ns:
                self._end(process, other.start_boot_ns)  # its tgid was taken since
                return
            self._end(other, process.start_boot_ns)  # its end was lost
        self._alive[process.tgid] = process

    def _parent_of(self, record: Record) -> Process | None:
        if not record.parent_tgid:  # the idle task, parent of the first process
            return None
        return self._known(record, record.parent_tgid, record.parent_start_boot_ns)

    def _known(
        self, record: Record, tgid: int, start_boot_ns: int, exec_id: int = -1
    ) -> Process | None:
        """Find a process that `record` names; where it is missing, scan again."""
        process = self.find(tgid, start_boot_ns, exec_id)
        if process is not None:
            return process
        if self.rescan is not None and record.boot_ns >= self._rescan_due_ns:
            self._rescan_due_ns = record.boot_ns + RESCAN_INTERVAL_NS
            self.rescan()
            process = self.find(tgid, start_boot_ns, exec_id)
        if process is None:
            self.unknown += 1
        return process

    def _from_record(self, record: Record) -> Process:
        flags = record.flags
        if not flags & self._unusual:
            image, args = self.texts[record.image], args_text(record.args, False)
            return Process(self.identity, record, image, args)
        process = Process(
            self.identity,
            record,
            path_text(record.image, bool(flags & self._image_truncated)),
            args_text(record.args, bool(flags & self._args_truncated)),
        )
        if flags & self._kernel_thread:
            process.is_kernel_thread = True
            process.args = f"[{text(record.comm)}]"
        return process

    def scan(self, records: Iterable[Record], boot_ns: int) -> None:
        """Merge what an iterator over all tasks saw.

        `boot_ns` is from before the iterator ran: older processes that it did not see
        have ended. What exec records said of the same image stays.
        """
        seen = set()
        added = []
        for record in records:
            seen.add(record.tgid)
            known = self.find(record.tgid, record.start_boot_ns)
            if known is None or not _is_up_to_date(known, record):
                process = self._from_record(record)
                if known is not None:
                    process.parent = known.parent
                    self._supersede(known, process)
                self._insert(process)
                added.append((process, record))
        for process, record in added:
            process.parent = process.parent or self.find(
                record.parent_tgid, record.parent_start_boot_ns
            )
        for process in list(self._alive.values()):
            if process.tgid not in seen and process.start_boot_ns < boot_ns:
                self._end(process, boot_ns)


def _is_up_to_date(known: Process, record: Record) -> bool:
    """Say whether the table has this image already, by a record that knew it."""
    if not known.is_alive:
        return known.has_exited  # and waits to be reaped
    return known.exec_id >= record.exec_id and (
        known.image != UNKNOWN or not record.image
    )
