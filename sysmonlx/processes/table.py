# SPDX-License-Identifier: MIT
"""The process table: who a (tgid, start time) is, which image it runs, who forked it.

Fed by the records of fork, exec and exit, and by scans of the running tasks; events
find here the image, GUID and parent of the process that acted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from sysmonlx.capture.records import Layout, Layouts, Record
from sysmonlx.kernel_text import UNKNOWN, Texts, are_plain, args_text, is_plain, text
from sysmonlx.processes.identity import Identity
from sysmonlx.processes.launches import Launches
from sysmonlx.processes.process import FORKED, Process, exec_id_of, image_key

#: How long an ended process can still be found, and how many of them.
GRACE_NS = 60_000_000_000
ENDED_LIMIT = 512

#: Unknown processes make the table scan again, at most this often.
RESCAN_INTERVAL_NS = 100_000_000

#: Where each record says which process acted, and which image of it.
_IMAGE_FIELDS = ("start_boot_ns", "tgid", "exec_id")
_PARENT_FIELDS = tuple(f"parent_{name}" for name in _IMAGE_FIELDS)
_PROCESS_BYTES = 12  # of these, what names the process

#: NO_UID in ebpf/record.h.
_NO_UID = 0xFFFFFFFF


class ProcessTable:
    """All processes alive, and for a grace period those that have ended.

    `layouts` say where the records have what the table reads. `rescan` is called when a
    record names a process that is not here (its own record was lost); it calls `scan`.
    """

    rescan: Callable[[], None] | None = None

    def __init__(self, identity: Identity, layouts: Layouts) -> None:
        self.identity = identity
        self._alive: dict[int, Process] = {}
        self._ended: dict[bytes, Process] = {}
        #: Those alive, by what their records call them.
        self._images: dict[bytes, Process] = {}
        self.flags = layouts.flags
        self._kernel_thread = layouts.flags["KERNEL_THREAD"]
        self._has_other_args = layouts.flags["ARGS_UNREADABLE"]
        self._use(layouts.by_name)
        self.texts = Texts()
        self.launches = Launches(layouts, self.texts)
        #: Images whose arguments are not known yet; whether none were found once.
        self._argless: dict[bytes, bool] = {}
        self._rescan_due_ns = 0
        self.unknown = 0
        """Records that named a process of which not even a scan knew."""

    def _use(self, layouts: dict[str, Layout]) -> None:
        """Read records that are laid out like these."""
        fork, create = layouts["process_fork"], layouts["process_create"]
        end = layouts["process_terminate"]
        self._image = end.span(*_IMAGE_FIELDS)
        self._process = end.span(*_IMAGE_FIELDS[:2])
        self._read_actor = end.reader("boot_ns", *_IMAGE_FIELDS, "uid")
        self._decode_fork = fork.decode
        self._image_id = create.span("image_id")
        self._forker = create.span(*_PARENT_FIELDS)
        self._read_create = create.reader(
            "start_boot_ns", "tgid", "uid", "parent_uid", "flags", "args_offset"
        )
        self._decode_create = create.decode
        self._read_end = end.reader("boot_ns", "tgid", "uid")
        self._decode_scan = layouts["process_scan"].decode

    def __len__(self) -> int:
        return len(self._alive) + len(self._ended)

    def __iter__(self) -> Iterator[Process]:
        yield from tuple(self._alive.values())
        yield from tuple(self._ended.values())

    def find(self, tgid: int, start_boot_ns: int, exec_id: int = -1) -> Process | None:
        """Return the process, of `exec_id` where that image is still known."""
        key = image_key(tgid, start_boot_ns, max(exec_id, 0))
        process = self.alive(tgid)
        if process is None or process.key[:_PROCESS_BYTES] != key[:_PROCESS_BYTES]:
            process = self._ended.get(key[:_PROCESS_BYTES])
            if process is None:
                return None
        if exec_id != -1 and process.key != key:
            previous = self._previous_of(process)
            if previous is not None and previous.key == key:
                return previous
        return process

    def alive(self, tgid: int) -> Process | None:
        """Return the process that has this tgid now."""
        return self._alive.get(tgid)

    def _previous_of(self, process: Process) -> Process | None:
        """Return the image before; that which a child had from its parent is made."""
        parent = process.parent
        if process.previous is FORKED:
            process.previous = parent and self._inherited(
                parent,
                process.tgid,
                process.start_boot_ns,
                (process.exec_id - 1) & 0xFFFFFFFF,
            )
        return process.previous

    def _new(self, tgid: int, start_boot_ns: int, exec_id: int, uid: int) -> Process:
        """Return a process of which only this is known."""
        key = image_key(tgid, start_boot_ns, exec_id)
        guid = self.identity.process_guid(tgid, start_boot_ns, exec_id)
        return Process(key, guid, str(tgid), uid)

    def _inherited(
        self, parent: Process, tgid: int, start_boot_ns: int, exec_id: int
    ) -> Process:
        """Return a process that runs its parent's image."""
        process = self._new(tgid, start_boot_ns, exec_id, parent.uid)
        process.image, process.is_plain = parent.image, parent.is_plain
        process.args, process.has_plain_args = parent.args, parent.has_plain_args
        process.parent = parent
        if parent.key in self._argless:
            self._argless[process.key] = False
        return process

    def acting(self, data: bytes) -> Process:
        """Return who acted; never fails: an unknown one is made from the record."""
        process = self._images.get(data[self._image])
        if process is not None:
            return process
        boot_ns, start_boot_ns, tgid, exec_id, uid = self._read_actor(data)
        process = self._known(boot_ns, tgid, start_boot_ns, exec_id)
        if process is None:
            process = self._new(tgid, start_boot_ns, exec_id, uid)
            self._insert(process)
        return process

    def fork(self, data: bytes) -> None:
        """Take a new process that acts before it runs another image."""
        record = self._decode_fork(data)
        tgid, start_boot_ns, exec_id = record.tgid, record.start_boot_ns, record.exec_id
        parent = self._known(
            record.boot_ns,
            record.parent_tgid,
            record.parent_start_boot_ns,
            record.parent_exec_id,
        )
        known = self.alive(tgid)
        if parent is not None:
            parent.uid = record.uid  # it may have called setuid since its exec
        if known is not None and known.start_boot_ns == start_boot_ns:
            known.parent = parent or known.parent
            return
        if parent is None:
            process = self._new(tgid, start_boot_ns, exec_id, record.uid)
        else:
            process = self._inherited(parent, tgid, start_boot_ns, exec_id)
        process.is_kernel_thread = bool(record.flags & self._kernel_thread)
        self._insert(process)

    def create(self, data: bytes) -> Process:
        """Take a new image of a process."""
        start_boot_ns, tgid, uid, forker_uid, flags, args_at = self._read_create(data)
        key, parent = data[self._image], self._images.get(data[self._forker])
        previous = FORKED
        if parent is None or forker_uid == _NO_UID or tgid in self._alive:
            before = self._before(tgid, key)
            parent = before and before.parent
            if before is None or parent is None:
                return self._create_unusual(data)
            previous = before
        if forker_uid != _NO_UID:
            parent.uid = forker_uid  # it may have called setuid since its exec
        launch, args, is_plain = self.launches.of(uid, flags, data, args_at)
        process = Process(
            key,
            self.identity.guid_of_image(start_boot_ns, data[self._image_id]),
            str(tgid),
            uid,
            launch.image,
            args,
            launch.is_plain,
            is_plain,
            parent,
            previous,
            launch,
        )
        if previous is not FORKED:
            self._supersede(previous, process)
        self._alive[tgid] = self._images[key] = process
        return process

    def _before(self, tgid: int, key: bytes) -> Process | None:
        """Return the image that a process alive had before one that is newer."""
        before = self.alive(tgid)
        if before is None or before.key[:_PROCESS_BYTES] != key[:_PROCESS_BYTES]:
            return None
        is_newer = before.exec_id < exec_id_of(key)
        return before if is_newer else None

    def _create_unusual(self, data: bytes) -> Process:
        """Take an image whose process is new here, or was scanned meanwhile."""
        record = self._decode_create(data)
        tgid, start_boot_ns, uid = record.tgid, record.start_boot_ns, record.uid
        is_forked = record.parent_uid != _NO_UID
        before = self.find(tgid, start_boot_ns)
        parent = before and before.parent
        if parent is None and record.parent_tgid:  # 0: idle task, parent of the first
            parent = self._known(
                record.boot_ns,
                record.parent_tgid,
                record.parent_start_boot_ns,
                record.parent_exec_id if is_forked else -1,
            )
            # Looking for the parent may have found the process itself.
            before = self.find(tgid, start_boot_ns)
        if parent is not None and is_forked:
            parent.uid = record.parent_uid
        process = self._new(tgid, start_boot_ns, record.exec_id, uid)
        process.parent = parent
        args_at = len(data) - len(record.args)
        process.launch, *_ = self.launches.of(uid, record.flags, data, args_at)
        self._take_texts(process, record)
        if before is None:
            process.previous = FORKED if is_forked else None
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
        self._images.pop(before.key, None)
        if before.key == process.key:
            self._replace_previous(process, before.previous)
            return
        if before.previous is not None:
            self._replace_previous(before, None)
        process.previous = before

    def _replace_previous(self, process: Process, previous: Process | None) -> None:
        """Keep one image before the present one; older ones keep no ancestors."""
        old = process.previous
        if old is not None:
            old.parent = old.previous = None
        process.previous = previous

    def terminate(self, data: bytes) -> Process | None:
        """Take the end of a process; None when it was taken before."""
        boot_ns, tgid, uid = self._read_end(data)
        process = self._images.pop(data[self._image], None)
        if process is None:
            return self._terminate_unusual(data, boot_ns, uid)
        process.ended_uid = uid
        process.ended_boot_ns = boot_ns
        del self._alive[tgid]
        self._ended[data[self._process]] = process
        return process

    def _terminate_unusual(self, data: bytes, boot_ns: int, uid: int) -> Process | None:
        """Take the end of a process that is new here, or was thought to have ended."""
        process = self.acting(data)
        if process.has_exited:
            return None
        process.ended_uid = uid
        self._end(process, boot_ns)
        return process

    def _end(self, process: Process, boot_ns: int) -> None:
        """Note the end of a process, whether or not a record said so."""
        key = process.key
        self._images.pop(key, None)
        if self._alive.get(process.tgid) is process:
            del self._alive[process.tgid]
        if process.is_alive:
            self._ended[key[:_PROCESS_BYTES]] = process
        process.ended_boot_ns = boot_ns or 1

    def trim(self) -> None:
        """Forget those that ended first, where there are many."""
        self._forget(len(self._ended) - ENDED_LIMIT)

    def _forget(self, count: int) -> None:
        """Drop those that ended first, so that they do not keep their ancestors."""
        ended = [*islice(self._ended, max(count, 0))]
        for process in map(self._ended.pop, ended):
            if process.previous is not None:
                process.previous.parent = process.previous.previous = None
            process.previous = process.parent = None

    def expire(self, boot_ns: int) -> None:
        """Forget processes that ended more than the grace period before `boot_ns`."""
        due_ns = boot_ns - GRACE_NS
        while (first := next(iter(self._ended.values()), None)) is not None:
            if first.ended_boot_ns >= due_ns:
                return
            self._forget(1)

    def _insert(self, process: Process) -> None:
        other = self.alive(process.tgid)
        if other is not None and other.start_boot_ns != process.start_boot_ns:
            if other.start_boot_ns > process.start_boot_ns:
                self._end(process, other.start_boot_ns)  # its tgid was taken since
                return
            self._end(other, process.start_boot_ns)  # its end was lost
        self._alive[process.tgid] = self._images[process.key] = process
        self._ended.pop(process.key[:_PROCESS_BYTES], None)  # if it was thought ended

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

    def _take_texts(self, process: Process, record: Record) -> None:
        image = self.launches.image_text(record.flags, record.image)
        args = self.launches.args_text(record.flags, record.args)
        process.image, process.is_plain = image
        process.args, process.has_plain_args = args

    def _from_scan(self, record: Record) -> Process:
        process = self._new(
            record.tgid, record.start_boot_ns, record.exec_id, record.uid
        )
        self._take_texts(process, record)
        if record.flags & self._kernel_thread:
            process.is_kernel_thread = True
            process.args = f"[{text(record.comm)}]"
            process.has_plain_args = is_plain(record.comm)
        elif record.flags & self._has_other_args:
            self._argless[process.key] = False
        return process

    def scan(self, records: Iterable[bytes], boot_ns: int) -> None:
        """Merge what an iterator over all tasks saw.

        `boot_ns` is from before the iterator ran: older processes that it did not see
        have ended. What exec records said of the same image stays. Arguments come
        later, for the processes of `without_args`.
        """
        seen = set()
        added = []
        for data in records:
            seen.add(data[self._process])
            known = self._images.get(data[self._image])
            if known is not None and known.image != UNKNOWN:
                continue
            record = self._decode_scan(data)
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
        for key, process in list(self._images.items()):
            if key[:_PROCESS_BYTES] not in seen and process.start_boot_ns < boot_ns:
                self._end(process, boot_ns)

    @property
    def has_argless(self) -> bool:
        """Whether the arguments of some process are not known yet."""
        return bool(self._argless)

    def without_args(self) -> list[Process]:
        """Return the processes alive whose arguments are not known yet."""
        images = self._images
        for key in [key for key in self._argless if key not in images]:
            del self._argless[key]
        return [images[key] for key in self._argless]

    def take_args(self, key: bytes, args: bytes, limit: int) -> None:
        """Take the arguments of an image, of which the first `limit` bytes are kept.

        Call it after a scan that began when they had been read: what is still the
        image of that process then was so when they were read. None at all are asked
        for once more: the process may have been about to begin.
        """
        process, was_empty = self._images.get(key), self._argless.pop(key, None)
        if was_empty is None or process is None:
            return
        if not args and not was_empty:
            self._argless[key] = True
        if len(args) > limit or args[-1:] not in (b"", b"\0"):
            args = args[: limit - 3] + b"..."
        process.args, process.has_plain_args = args_text(args, False), are_plain(args)
        self.launches.clear()  # they show the arguments of parents


def _is_up_to_date(known: Process, record: Record) -> bool:
    """Say whether the table has this image already, by a record that knew it."""
    if not known.is_alive:
        return known.has_exited  # and waits to be reaped
    return known.exec_id >= record.exec_id and (
        known.image != UNKNOWN or not record.image
    )
