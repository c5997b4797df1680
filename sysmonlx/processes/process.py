# SPDX-License-Identifier: MIT
"""One image of one process, with the facts that later events of it need."""

from __future__ import annotations

import struct
from collections import deque

from sysmonlx.event import Held
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.processes.identity import NO_GUID
from sysmonlx.processes.launches import NO_LAUNCH, Launch

_IMAGE = struct.Struct("=QII")

#: Bytes of an image key that name the process, whichever image it runs.
PROCESS_BYTES = 12
#: Forks one below the other that are followed to the program that all of them run.
_MOST_FORKS = 64


def image_key(tgid: int, start_boot_ns: int, exec_id: int) -> bytes:
    """Return the bytes by which records name one image of one process.

    Their first `PROCESS_BYTES` name the process; the others count its execs.
    """
    return _IMAGE.pack(start_boot_ns, tgid, exec_id)


def exec_id_of(key: bytes) -> int:
    """Return which image of its process an image key names."""
    return int.from_bytes(key[PROCESS_BYTES:], "little")


class Process:
    """One image of one process: a process that runs another program is a new object.

    * `key` is its `image_key`, `pid` its tgid in decimal, `uid` its effective user.
    * `image` and `args` are texts; `is_plain` says whether the image is
      `kernel_text.is_plain`, `has_plain_args` the same of the arguments.
    * `previous` is the image before this one. `FORKED` stands for the one that the
      process had from its parent; the table makes it when somebody asks for it.
    * `cgroup_id` is the number of its control group when it ran this program;
      0: not known.
    * `entry` is there when somebody has asked for it: see `processes.entry_points`.
    * `lineage` is there when somebody has asked for it, and `session_id`, the audit
      session, where a scan or an exec told it: see `processes.lineage`.
    * `launch` is there until event 1 is made.
    * `hold` is the queue of its events that wait, None where no event waits: see
      `pipeline.waiting`. All images of a process share one queue.
    * `ended_boot_ns` is 0 while its end was not seen. `ended_uid` is the user at the
      end; -1 where no record told the end, whether or not a scan found it missing.
    """

    __slots__ = (
        "args",
        "cgroup_id",
        "ended_boot_ns",
        "ended_uid",
        "entry",
        "guid",
        "has_plain_args",
        "hold",
        "image",
        "is_kernel_thread",
        "is_plain",
        "key",
        "launch",
        "lineage",
        "parent",
        "pid",
        "previous",
        "session_id",
        "uid",
    )

    entry: str
    lineage: str
    session_id: int

    def __init__(
        self,
        key: bytes,
        guid: str,
        pid: str,
        uid: int,
        image: str = UNKNOWN,
        args: str = UNKNOWN,
        is_plain: bool = True,
        has_plain_args: bool = True,
        parent: Process | None = None,
        previous: Process | None = None,
        launch: Launch = NO_LAUNCH,
        cgroup_id: int = 0,
    ) -> None:
        self.key = key
        self.guid = guid
        self.pid = pid
        self.uid = uid
        self.image = image
        self.args = args
        self.is_plain = is_plain
        self.has_plain_args = has_plain_args
        self.parent = parent
        self.previous = previous
        self.launch = launch
        self.cgroup_id = cgroup_id
        self.is_kernel_thread = False
        self.ended_uid = -1
        self.ended_boot_ns = 0
        self.hold: deque[Held] | None = None

    @property
    def start_boot_ns(self) -> int:
        """When the process was forked, in ns of the boot clock."""
        return int(_IMAGE.unpack(self.key)[0])

    @property
    def tgid(self) -> int:
        """The process id in the first pid namespace."""
        return int(self.pid)

    @property
    def exec_id(self) -> int:
        """The number of this image: each exec of the process counts one more."""
        return exec_id_of(self.key)

    def with_program(self) -> Process:
        """Return the image that an exec ran: this one, or the one it is a fork of.

        A child has image and exec id of its parent until it runs a program.
        """
        process, seen = self, 0
        while (parent := process.parent) is not None and seen < _MOST_FORKS:
            if parent.exec_id != process.exec_id or parent.image != process.image:
                break
            process, seen = parent, seen + 1
        return process

    @property
    def has_exited(self) -> bool:
        """Whether a record told the end of the process."""
        return self.ended_uid != -1

    @property
    def is_alive(self) -> bool:
        """Whether the end of the process has not been seen, in a record or a scan."""
        return self.ended_boot_ns == 0


#: As `Process.previous`: the image that the process had from its parent when it was
#: forked. No process asks for it but one that acted before its exec, so it is made
#: then.
FORKED = Process(b"", NO_GUID, "0", 0)
