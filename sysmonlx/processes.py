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
from sysmonlx.process import Forked, Identity, Process
from sysmonlx.texts import (
    UNKNOWN,
    Texts,
    args_text,
    is_plain,
    path_text,
    plain_args,
    text,
)

#: How long an ended process can still be found, and how many of them.
GRACE_NS = 60_000_000_000
ENDED_LIMIT = 512

#: Unknown processes make the table scan again, at most this often.
RESCAN_INTERVAL_NS = 100_000_000

#: Fields of the records that the table takes, in the order in which it takes them.
#: Those of every record begin with who acted, and when.
ACTOR_FIELDS = ("boot_ns", "start_boot_ns", "tgid", "uid", "exec_id")
FORK_FIELDS = (
    *ACTOR_FIELDS,
    "parent_start_boot_ns",
    "parent_tgid",
    "parent_exec_id",
    "flags",
)
CREATE_FIELDS = (
    *ACTOR_FIELDS,
    "parent_start_boot_ns",
    "parent_tgid",
    "flags",
    "image",
    "args",
    "cwd",
    "tty_index",
    "session_id",
)

#: Values of the fields of one record.
Fields = tuple[Any, ...]


class ProcessTable:
    """All processes alive, and for a grace period those that have ended.

    `flags` are the values of `enum record_flag` by name. `rescan` is called when a
    record names a process that is not here (its own record was lost); it calls `scan`.
    """

    rescan: Callable[[], None] | None = None

    def __init__(self, identity: Identity, flags: dict[str, int]) -> None:
        self.identity = identity
        self._alive: dict[int, Process] = {}
        self._forked: dict[int, Forked] = {}
        self._ended: dict[tuple[int, int], Process] = {}
        self._expiry: deque[Process] = deque()
        self.flags = flags
        self._kernel_thread = flags["KERNEL_THREAD"]
        self._args_truncated = flags["ARGS_TRUNCATED"]
        self._image_truncated = flags["IMAGE_TRUNCATED"]
        self._truncated = self._args_truncated | self._image_truncated
        self.texts = Texts()
        self._rescan_due_ns = 0
        self.unknown = 0
        """Records that named a process of which not even a scan knew."""

    def __len__(self) -> int:
        return len(self._alive) + len(self._forked) + len(self._ended)

    def __iter__(self) -> Iterator[Process]:
        self._settle(*self._forked)
        yield from tuple(self._alive.values())
        yield from tuple(self._ended.values())

    def find(self, tgid: int, start_boot_ns: int, exec_id: int = -1) -> Process | None:
        """Return the process, of `exec_id` where that image is still known."""
        process = self.alive(tgid)
        if process is None or process.start_boot_ns != start_boot_ns:
            process = self._ended.get((tgid, start_boot_ns))
            if process is None:
                return None
        if exec_id not in (-1, process.exec_id):
            previous = process.previous
            if isinstance(previous, int):
                previous = process.previous = self._as_forked(process, previous)
            if previous is not None and previous.exec_id == exec_id:
                return previous
        return process

    def alive(self, tgid: int) -> Process | None:
        """Return the process that has this tgid now."""
        if tgid in self._forked:
            self._settle(tgid)
        return self._alive.get(tgid)

    def _settle(self, *tgids: int) -> None:
        """Make processes of those that were only forked."""
        for tgid in tgids:
            self._alive[tgid] = self._from_fork(self._forked.pop(tgid))

    def _as_forked(self, process: Process, exec_id: int) -> Process:
        """Return a process as it was before its first exec, with its parent's image."""
        tgid, start_boot_ns, uid = process.tgid, process.start_boot_ns, process.uid
        forked = Process(self.identity, tgid, start_boot_ns, exec_id, uid)
        self._inherit(forked, process.parent)
        return forked

    def _inherit(self, process: Process, parent: Process | None) -> None:
        if parent is not None:
            process.parent = parent
            process.image, process.is_plain = parent.image, parent.is_plain
            process.args, process.has_plain_args = parent.args, parent.has_plain_args

    def _from_fork(self, forked: Forked) -> Process:
        parent, fields = forked
        _, start_boot_ns, tgid, uid, exec_id, _, _, _, flags = fields
        process = Process(self.identity, tgid, start_boot_ns, exec_id, uid)
        self._inherit(process, parent)
        if flags & self._kernel_thread:
            process.is_kernel_thread = True
        return process

    def acting(self, fields: Fields) -> Process:
        """Return who acted; never fails: an unknown one is made from the fields."""
        process = self._alive.get(fields[2])
        if (
            process is not None
            and process.exec_id == fields[4]
            and process.start_boot_ns == fields[1]
        ):
            return process
        boot_ns, start_boot_ns, tgid, uid, exec_id = fields[:5]
        process = self._known(boot_ns, tgid, start_boot_ns, exec_id)
        if process is None:
            process = Process(self.identity, tgid, start_boot_ns, exec_id, uid)
            self._insert(process)
        return process

    def fork(self, fields: Fields) -> None:
        """Take a new process: it runs its parent's image until it execs."""
        (
            boot_ns,
            start_boot_ns,
            tgid,
            uid,
            _,
            parent_start_boot_ns,
            parent_tgid,
            parent_exec_id,
            _,
        ) = fields
        parent = self._alive.get(parent_tgid)
        if (
            parent is None
            or parent.exec_id != parent_exec_id
            or parent.start_boot_ns != parent_start_boot_ns
        ):
            parent = self._known(
                boot_ns, parent_tgid, parent_start_boot_ns, parent_exec_id
            )
        if parent is not None:
            parent.uid = uid  # it may have called setuid since its exec
        known = self.alive(tgid)
        if known is None:
            self._forked[tgid] = parent, fields
        elif known.start_boot_ns == start_boot_ns:
            known.parent = parent or known.parent
        else:
            self._insert(self._from_fork((parent, fields)))

    def create(self, fields: Fields) -> Process:
        """Take a new image of a process."""
        _, start_boot_ns, tgid, uid, exec_id, _, _, flags, image, args, _, _, _ = fields
        path, line, path_plain, line_plain = self._image_and_args(flags, image, args)
        process = Process(
            self.identity,
            tgid,
            start_boot_ns,
            exec_id,
            uid,
            path,
            line,
            path_plain,
            line_plain,
        )
        forked = self._forked.get(tgid)
        if forked is None or forked[1][1] != start_boot_ns or forked[0] is None:
            return self._create_unusual(process, fields)
        del self._forked[tgid]
        process.parent, process.previous = forked[0], forked[1][4]
        self._alive[tgid] = process
        return process

    def _create_unusual(self, process: Process, fields: Fields) -> Process:
        """Take an image whose process is new here, or was scanned meanwhile."""
        tgid, start_boot_ns = process.tgid, process.start_boot_ns
        boot_ns, parent_start_boot_ns, parent_tgid = fields[0], fields[5], fields[6]
        before = self.find(tgid, start_boot_ns)
        parent = before and before.parent
        if parent is None and parent_tgid:  # 0: the idle task, parent of the first
            parent = self._known(boot_ns, parent_tgid, parent_start_boot_ns)
            # Looking for the parent may have found the process itself.
            before = self.find(tgid, start_boot_ns)
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

    def _replace_previous(
        self, process: Process, previous: Process | int | None
    ) -> None:
        """Keep one image before the present one; older ones keep no ancestors."""
        old = process.previous
        if isinstance(old, Process):
            old.parent = old.previous = None
        process.previous = previous

    def terminate(self, fields: Fields) -> Process | None:
        """Take the end of a process; None when it was taken before."""
        boot_ns, start_boot_ns, tgid, _, exec_id = fields
        process = self._alive.get(tgid)
        if (
            process is None
            or process.exec_id != exec_id
            or process.start_boot_ns != start_boot_ns
        ):
            process = self.acting(fields)
            if process.has_exited:
                return None
        process.has_exited = True
        if process.ended_boot_ns == 0:  # else a scan was ahead of this record
            self._end(process, boot_ns)
        return process

    def _end(self, process: Process, boot_ns: int) -> None:
        process.ended_boot_ns = boot_ns or 1
        tgid, expiry = process.tgid, self._expiry
        if self._alive.get(tgid) is process:
            del self._alive[tgid]
        self._ended[tgid, process.start_boot_ns] = process
        expiry.append(process)
        if len(expiry) > ENDED_LIMIT:
            self._forget(ENDED_LIMIT // 8)

    def _forget(self, count: int) -> None:
        """Drop those that ended first, so that they do not keep their ancestors."""
        ended, next_one = self._ended, self._expiry.popleft
        for _ in range(count):
            process = next_one()
            key = process.tgid, process.start_boot_ns
            if ended.get(key) is process:
                del ended[key]
            previous = process.previous
            if isinstance(previous, Process):
                previous.parent = previous.previous = None
            process.previous = process.parent = None

    def expire(self, boot_ns: int) -> None:
        """Forget processes that ended more than the grace period before `boot_ns`."""
        while self._expiry and self._expiry[0].ended_boot_ns < boot_ns - GRACE_NS:
            self._forget(1)

    def _insert(self, process: Process) -> None:
        other = self.alive(process.tgid)
        if other is not None and other.start_boot_ns != process.start_boot_ns:
            if other.start_boot_ns > process.start_boot_ns:
                self._end(process, other.start_boot_ns)  # its tgid was taken since
                return
            self._end(other, process.start_boot_ns)  # its end was lost
        self._alive[process.tgid] = process

    def _known(
        self, boot_ns: int, tgid: int, start_boot_ns: int, exec_id: int = -1
    ) -> Process | None:
        """Find a process that a record names; where it is missing, scan again."""
        process = self.find(tgid, start_boot_ns, exec_id)
        if process is not None:
            return process
        if self.rescan is not None and boot_ns >= self._rescan_due_ns:
            self._rescan_due_ns = boot_ns + RESCAN_INTERVAL_NS
            self.rescan()
            process = self.find(tgid, start_boot_ns, exec_id)
        if process is None:
            self.unknown += 1
        return process

    def _image_and_args(
        self, flags: int, image: bytes, args: bytes
    ) -> tuple[str, str, bool, bool]:
        """Return both as text, and whether each is plain."""
        if flags & self._truncated:
            path = path_text(image, bool(flags & self._image_truncated))
            path_is_plain = is_plain(image)
        else:
            path, path_is_plain = self.texts[image]
            line = plain_args(args)
            if line:
                return path, line, path_is_plain, True
        line = args_text(args, bool(flags & self._args_truncated))
        return path, line, path_is_plain, is_plain(args)

    def _from_scan(self, record: Record) -> Process:
        process = Process(
            self.identity,
            record.tgid,
            record.start_boot_ns,
            record.exec_id,
            record.uid,
            *self._image_and_args(record.flags, record.image, record.args),
        )
        if record.flags & self._kernel_thread:
            process.is_kernel_thread = True
            process.args = f"[{text(record.comm)}]"
            process.has_plain_args = is_plain(record.comm)
        return process

    def scan(self, records: Iterable[Record], boot_ns: int) -> None:
        """Merge what an iterator over all tasks saw.

        `boot_ns` is from before the iterator ran: older processes that it did not see
        have ended. What exec records said of the same image stays.
        """
        self._settle(*self._forked)
        seen = set()
        added = []
        for record in records:
            seen.add(record.tgid)
            known = self.find(record.tgid, record.start_boot_ns)
            if known is None or not _is_up_to_date(known, record):
                process = self._from_scan(record)
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
