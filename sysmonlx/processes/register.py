# SPDX-License-Identifier: MIT
"""The processes that are known, whichever record or scan told of them.

A process is in one of two states: alive, or ended and kept for a grace period, since
records of what it did may still come. `ProcessTable` in `table` decides what a record
means for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice

from sysmonlx.kernel_text import are_plain, args_text
from sysmonlx.processes.identity import Identity
from sysmonlx.processes.process import FORKED, PROCESS_BYTES, Process, image_key

#: How long an ended process can still be found, in ns, and how many of them.
GRACE_NS = 60_000_000_000
ENDED_LIMIT = 512


class Register:
    """All processes alive, and for a grace period those that have ended."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        #: By tgid.
        self._alive: dict[int, Process] = {}
        #: The same by the image key, which their records have.
        self._images: dict[bytes, Process] = {}
        #: By the first `PROCESS_BYTES` of the image key, in the order of their ends.
        self._ended: dict[bytes, Process] = {}
        #: Keys of images whose arguments are not known yet; whether they were read once
        #: already and there were none.
        self._argless: dict[bytes, bool] = {}

    def __len__(self) -> int:
        return len(self._alive) + len(self._ended)

    def __iter__(self) -> Iterator[Process]:
        yield from tuple(self._alive.values())
        yield from tuple(self._ended.values())

    def alive(self, tgid: int) -> Process | None:
        """Return the process that has this tgid now."""
        return self._alive.get(tgid)

    def at(self, tgid: int, boot_ns: int) -> Process | None:
        """Return the process that had this tgid at `boot_ns`; None: nobody is known.

        Its image is the present one, or the last, not that of the time.
        """
        process = self.alive(tgid)
        if process is not None and process.start_boot_ns <= boot_ns:
            return process
        for each in reversed(self._ended.values()):
            is_then = each.start_boot_ns <= boot_ns <= each.ended_boot_ns
            if is_then and each.tgid == tgid:
                return each
        return None

    def find(self, tgid: int, start_boot_ns: int, exec_id: int = -1) -> Process | None:
        """Return a process, alive or ended.

        With an `exec_id` it is the image of that number: the present one, the one
        before, or, where that is not known any more, one without a name. The number
        may be that of a later image, of which no record has come: it is the present
        image then. Without an `exec_id` it is the present image.
        """
        key = image_key(tgid, start_boot_ns, max(exec_id, 0))
        process = self.alive(tgid)
        if process is None or process.key[:PROCESS_BYTES] != key[:PROCESS_BYTES]:
            process = self._ended.get(key[:PROCESS_BYTES])
            if process is None:
                return None
        if exec_id != -1 and process.key != key:
            previous = self._previous_of(process)
            if previous is not None and previous.key == key:
                return previous
            if exec_id < process.exec_id:
                return self._unnamed(process, exec_id)
        return process

    def _unnamed(self, process: Process, exec_id: int) -> Process:
        """Return another image of a process, of which no more is known; not entered."""
        start_boot_ns, uid = process.start_boot_ns, process.uid
        made = self._new(process.tgid, start_boot_ns, exec_id, uid)
        made.parent = process.parent
        made.ended_boot_ns, made.ended_uid = process.ended_boot_ns, process.ended_uid
        for name in ("lineage", "session_id"):
            if hasattr(process, name):
                setattr(made, name, getattr(process, name))
        made.hold = process.hold = deque() if process.hold is None else process.hold
        return made

    def _previous_of(self, process: Process) -> Process | None:
        """Return the image before; the one that a child had from its parent is made."""
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
        """Return a process of which only this is known; it is not entered yet."""
        key = image_key(tgid, start_boot_ns, exec_id)
        guid = self.identity.process_guid(tgid, start_boot_ns, exec_id)
        return Process(key, guid, str(tgid), uid)

    def _inherited(
        self, parent: Process, tgid: int, start_boot_ns: int, exec_id: int
    ) -> Process:
        """Return a process that runs its parent's image; it is not entered yet."""
        process = self._new(tgid, start_boot_ns, exec_id, parent.uid)
        process.image, process.is_plain = parent.image, parent.is_plain
        process.args, process.has_plain_args = parent.args, parent.has_plain_args
        process.parent, process.cgroup_id = parent, parent.cgroup_id
        if parent.key in self._argless:
            self._argless[process.key] = False
        return process

    def _insert(self, process: Process) -> None:
        """Enter a process as alive, unless its tgid has been taken by a later one."""
        other = self.alive(process.tgid)
        if other is not None and other.start_boot_ns != process.start_boot_ns:
            if other.start_boot_ns > process.start_boot_ns:
                self._end(process, other.start_boot_ns)
                return
            self._end(other, process.start_boot_ns)  # its own end was lost
        self._alive[process.tgid] = self._images[process.key] = process
        # A scan may have missed it, and taken it for ended.
        self._ended.pop(process.key[:PROCESS_BYTES], None)

    def _supersede(self, before: Process, process: Process) -> None:
        """Let one image follow another one of the same process."""
        process.hold = before.hold
        self._images.pop(before.key, None)
        if before.key == process.key:
            self._replace_previous(process, before.previous)
            return
        if before.previous is not None:
            self._replace_previous(before, None)
        process.previous = before

    def _replace_previous(self, process: Process, previous: Process | None) -> None:
        """Set the image before the present one.

        The image that was there goes. It lets go of its ancestors: a chain of processes
        would else be kept in memory by its last one.
        """
        old = process.previous
        if old is not None:
            old.parent = old.previous = None
        process.previous = previous

    def _end(self, process: Process, boot_ns: int) -> None:
        """Note the end of a process, whether or not a record told it."""
        key = process.key
        self._images.pop(key, None)
        if self._alive.get(process.tgid) is process:
            del self._alive[process.tgid]
        if process.is_alive:
            self._ended[key[:PROCESS_BYTES]] = process
        process.ended_boot_ns = boot_ns or 1

    def trim(self) -> None:
        """Forget those that ended first, where more than `ENDED_LIMIT` are kept."""
        self._forget(len(self._ended) - ENDED_LIMIT)

    def expire(self, boot_ns: int) -> None:
        """Forget processes that ended more than the grace period before `boot_ns`."""
        due_ns = boot_ns - GRACE_NS
        while (first := next(iter(self._ended.values()), None)) is not None:
            if first.ended_boot_ns >= due_ns:
                return
            self._forget(1)

    def _forget(self, count: int) -> None:
        """Drop those that ended first.

        Descendants may still know them. They then know the first ancestor that is not
        dropped yet, and none between: a chain would else be kept by its last one.
        """
        ended = [*islice(self._ended, max(count, 0))]
        for process in map(self._ended.pop, ended):
            if process.previous is not None:
                process.previous.parent = process.previous.previous = None
            process.previous = None
            process.parent = self._kept(process.parent)

    def _kept(self, process: Process | None) -> Process | None:
        """Return a process or its first ancestor that was not dropped."""
        while process is not None and not process.is_alive:
            if process.key[:PROCESS_BYTES] in self._ended:
                return process
            process = process.parent
        return process

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

    def _set_args(self, key: bytes, args: bytes, limit: int) -> bool:
        """Take the arguments of an image, of which the first `limit` bytes are kept.

        Returns False where nobody asked for them, or the image is gone.
        """
        process, was_empty = self._images.get(key), self._argless.pop(key, None)
        if was_empty is None or process is None:
            return False
        if not args and not was_empty:
            self._argless[key] = True
        if len(args) > limit or args[-1:] not in (b"", b"\0"):
            args = args[: limit - 3] + b"..."
        process.args, process.has_plain_args = args_text(args, False), are_plain(args)
        return True
