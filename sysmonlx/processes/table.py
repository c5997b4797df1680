# SPDX-License-Identifier: MIT
"""The process table: fed by records of fork, exec and exit, and by scans of all tasks.

Events find here the image, GUID and parent of the process that acted. A process is
named by its tgid and the time of its fork, and an image of it by the number of the exec
too: the image key of `process`. A `Register` holds the processes; this module reads the
records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from sysmonlx.capture.records import Layout, Layouts
from sysmonlx.kernel_text import UNKNOWN, Texts, is_plain, text
from sysmonlx.processes.identity import Identity
from sysmonlx.processes.launches import Launches
from sysmonlx.processes.process import FORKED, PROCESS_BYTES, Process, exec_id_of
from sysmonlx.processes.register import Register

#: Unknown processes make the table scan again, at most this often.
RESCAN_INTERVAL_NS = 100_000_000

#: Where each record says which process acted, and which image of it.
_IMAGE_FIELDS = ("start_boot_ns", "tgid", "exec_id")
_PARENT_FIELDS = tuple(f"parent_{name}" for name in _IMAGE_FIELDS)

#: NO_UID in ebpf/record.h: `parent_uid` of a process_create record that says nothing of
#: the fork, because the fork has or had a record of its own.
_NO_UID = 0xFFFFFFFF


class _OfProcess(Protocol):
    """Members of struct record_header: which image of which process a record is of."""

    boot_ns: int
    start_boot_ns: int
    tgid: int
    exec_id: int
    uid: int


class _ForkRecord(_OfProcess, Protocol):
    """A decoded struct process_fork."""

    flags: int
    parent_tgid: int
    parent_start_boot_ns: int
    parent_exec_id: int


class _ImageRecord(_OfProcess, Protocol):
    """A decoded struct process_scan; a process_create has these members too."""

    flags: int
    parent_tgid: int
    parent_start_boot_ns: int
    cgroup_id: int
    session_id: int
    image: bytes
    args: bytes
    comm: bytes


class _CreateRecord(_ImageRecord, Protocol):
    """A decoded struct process_create."""

    parent_exec_id: int
    parent_uid: int


class ProcessTable(Register):
    """A register of processes that is fed by records.

    `layouts` say where the fields of the records lie. `rescan` is called when a record
    names a process that is not here, whose own record was lost; it calls `scan`.
    """

    rescan: Callable[[], None] | None = None
    lost_execs: Callable[[], int] = staticmethod(lambda: 0)
    """Returns how many records of new images were lost since the start."""

    def __init__(self, identity: Identity, layouts: Layouts) -> None:
        super().__init__(identity)
        self.flags = layouts.flags
        self._kernel_thread = layouts.flags["KERNEL_THREAD"]
        self._has_other_args = layouts.flags["ARGS_UNREADABLE"]
        self._use(layouts.by_name)
        self.texts = Texts()
        self.launches = Launches(layouts, self.texts)
        self._rescan_due_ns = 0
        self.learns_sessions = False
        """Whether scans tell the audit sessions of processes that are known."""
        self.lost_before_scan = 0
        """What `lost_execs` returned before the last scan began."""
        self.unknown = 0
        """Records that named a process of which not even a scan knew."""

    def _use(self, layouts: dict[str, Layout]) -> None:
        """Prepare to read records that are laid out like this."""
        fork, create = layouts["process_fork"], layouts["process_create"]
        end = layouts["process_terminate"]
        self._image = end.span(*_IMAGE_FIELDS)
        self._process = end.span(*_IMAGE_FIELDS[:2])
        self._read_actor: Callable[[bytes], tuple[int, int, int, int, int]]
        self._read_actor = end.reader("boot_ns", *_IMAGE_FIELDS, "uid")
        self._decode_fork: Callable[[bytes], _ForkRecord] = fork.decode
        self._image_id = create.span("image_id")
        self._forker = create.span(*_PARENT_FIELDS)
        self._read_create: Callable[[bytes], tuple[int, int, int, int, int, int]]
        self._read_create = create.reader(
            "start_boot_ns", "tgid", "uid", "parent_uid", "flags", "args_offset"
        )
        self._decode_create: Callable[[bytes], _CreateRecord] = create.decode
        self._read_end: Callable[[bytes], tuple[int, int, int]]
        self._read_end = end.reader("boot_ns", "tgid", "uid")
        self._decode_scan: Callable[[bytes], _ImageRecord]
        self._decode_scan = layouts["process_scan"].decode

    def acting(self, data: bytes) -> Process:
        """Return the process that acted; an unknown one is made of the record."""
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
        """Take a new process that acts before it runs a program of its own.

        Others have no record of their fork: it stands in the record of their exec.
        """
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
            is_ahead = known.exec_id > exec_id and known.previous is None
            if is_ahead and parent is not None:
                before = self._inherited(parent, tgid, start_boot_ns, exec_id)
                self._put_before(known, before)
            return
        if parent is None:
            process = self._new(tgid, start_boot_ns, exec_id, record.uid)
        else:
            process = self._inherited(parent, tgid, start_boot_ns, exec_id)
        process.is_kernel_thread = bool(record.flags & self._kernel_thread)
        self._insert(process)

    def learn_sessions(self) -> None:
        """Find out the audit sessions of all processes alive, now and in each scan.

        The first scan is still to come where no process is known.
        """
        self.learns_sessions = True
        if self.rescan is not None and self._images:
            self.rescan()

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
            launch.cgroup_id,
        )
        if previous is not FORKED:
            self._supersede(previous, process)
        self._alive[tgid] = self._images[key] = process
        return process

    def _before(self, tgid: int, key: bytes) -> Process | None:
        """Return the present image of a process alive, where `key` is a later one."""
        before = self.alive(tgid)
        if before is None or before.key[:PROCESS_BYTES] != key[:PROCESS_BYTES]:
            return None
        is_newer = before.exec_id < exec_id_of(key)
        return before if is_newer else None

    def _create_unusual(self, data: bytes) -> Process:
        """Take an image whose parent is not told, or which a scan told of before."""
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
            self._put_before(before, process)
        return process

    def _put_before(self, known: Process, process: Process) -> None:
        """Enter the image before the present one, of which a scan has told already."""
        known.hold = process.hold = deque() if known.hold is None else known.hold
        self._replace_previous(known, process)

    def terminate(self, data: bytes) -> Process | None:
        """Take the end of a process and return it; None when it was taken before."""
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
        process = self._images.get(data[self._image]) or self._ending(data)
        if process.has_exited:
            return None
        process.ended_uid = uid
        self._end(process, boot_ns)
        return process

    def _ending(self, data: bytes) -> Process:
        """Return the last image of a process, which its end names."""
        _, start_boot_ns, tgid, exec_id, _ = self._read_actor(data)
        process = self.find(tgid, start_boot_ns)
        if process is None:
            return self.acting(data)
        if self._has_lost_image(process, exec_id):
            return self._next_unnamed(process, exec_id)
        return process

    def _known(
        self, boot_ns: int, tgid: int, start_boot_ns: int, exec_id: int = -1
    ) -> Process | None:
        """Find a process that a record names; scan again where it is missing.

        Where the record of its image was lost, it is one without a name.
        """
        process = self.find(tgid, start_boot_ns, exec_id)
        if process is not None and not self._has_lost_image(process, exec_id):
            return process
        if self.rescan is not None and boot_ns >= self._rescan_due_ns:
            self._rescan_due_ns = boot_ns + RESCAN_INTERVAL_NS
            self.rescan()
            found = self.find(tgid, start_boot_ns, exec_id)
            if found is not None and found.exec_id >= exec_id:
                return found
            process = found or process
        self.unknown += 1
        return process and self._next_unnamed(process, exec_id)

    def _has_lost_image(self, process: Process, exec_id: int) -> bool:
        """Return whether the record of a later image of a process may have been lost.

        An exec that fails when the old image is gone already counts too, and has no
        record. So what matters is whether records were lost since the last scan.
        """
        is_later = process.exec_id < exec_id
        return is_later and self.lost_execs() > self.lost_before_scan

    def _next_unnamed(self, process: Process, exec_id: int) -> Process:
        """Enter a later image of a process, of which only the number is known."""
        later = self._unnamed(process, exec_id)
        if process.is_alive:
            self._supersede(process, later)
            self._insert(later)
        return later

    def seek(self, tgid: int, boot_ns: int) -> Process | None:
        """Return the process that had this tgid at `boot_ns`; None: nobody is known.

        Where the table does not know it, all processes are scanned first.
        """
        process = self.at(tgid, boot_ns)
        if process is None and self.rescan is not None:
            self.rescan()
            process = self.at(tgid, boot_ns)
        return process

    def _take_texts(self, process: Process, record: _ImageRecord) -> None:
        image = self.launches.image_text(record.flags, record.image)
        args = self.launches.args_text(record.flags, record.args)
        process.image, process.is_plain = image
        process.args, process.has_plain_args = args
        process.cgroup_id = record.cgroup_id
        process.session_id = record.session_id

    def _from_scan(self, record: _ImageRecord) -> Process:
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
        """Merge the records of an iterator over all tasks.

        `boot_ns` is a time before the iterator ran: older processes that it did not see
        have ended. Where an exec record told of the same image, its values stay.
        Arguments come later (`take_args`), for the processes of `without_args`.
        """
        seen = set()
        added = []
        for data in records:
            seen.add(data[self._process])
            known = self._images.get(data[self._image])
            if known is not None and known.image != UNKNOWN:
                self._learn_session(known, data)
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
            if key[:PROCESS_BYTES] not in seen and process.start_boot_ns < boot_ns:
                self._end(process, boot_ns)

    def _learn_session(self, known: Process, data: bytes) -> None:
        if self.learns_sessions:
            known.session_id = self._decode_scan(data).session_id

    def take_args(self, key: bytes, args: bytes, limit: int) -> None:
        """Take the arguments of an image, of which the first `limit` bytes are kept.

        Call it after a scan that began when they had been read: an image that is still
        the present one of its process then was so when they were read. Where there are
        none at all they are asked for once more: the process may have been about to
        begin.
        """
        if self._set_args(key, args, limit):
            self.launches.clear()  # they show the arguments of parents


def _is_up_to_date(known: Process, record: _ImageRecord) -> bool:
    """Say whether the table has this image already, with the path that it ran from."""
    if not known.is_alive:
        return known.has_exited  # and waits to be reaped
    return known.exec_id >= record.exec_id and (
        known.image != UNKNOWN or not record.image
    )
