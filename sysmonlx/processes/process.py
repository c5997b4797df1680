# SPDX-License-Identifier: MIT
"""One image of one process, and the GUIDs of processes and logons."""

from __future__ import annotations

import struct
from collections import deque
from typing import Any

from sysmonlx.event import Shape
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.processes.identity import NO_GUID


class Launch:
    """What processes have in common that run one program in one way; see `launches`.

    Their image, and whether it is `texts.is_plain`. The rest is filled in by those who
    find it out: the `values` of event 1, without those that each process has its own,
    whether they are too long to be worth keeping, and the text of Hashes.
    The `parent` is that of the last such process, whose user was `parent_uid`; what is
    said of it is in `values` too. `siblings` counts processes of one parent in a row;
    if they are many they have a `shape` of their own, in which the parent stands too,
    and else the `common_shape` of the launch.
    `has_plain_parent` says that the parent is plain, or is no matter of its own there.
    """

    __slots__ = (
        "common_shape",
        "has_long_values",
        "has_plain_parent",
        "hashes",
        "image",
        "is_plain",
        "parent",
        "parent_uid",
        "shape",
        "siblings",
        "values",
    )

    def __init__(self, image: str, is_plain: bool) -> None:
        self.image = image
        self.is_plain = is_plain
        self.values: list[Any] = []
        self.has_long_values = False
        self.hashes: str | None = None
        self.parent: Process | None = None
        self.parent_uid = -1
        self.siblings = 0
        self.has_plain_parent = True
        self.common_shape: Shape
        self.shape: Shape


#: Of a process whose start was not seen, or has been reported.
NO_LAUNCH = Launch(UNKNOWN, True)

_IMAGE = struct.Struct("=QII")


def image_key(tgid: int, start_boot_ns: int, exec_id: int) -> bytes:
    """Return the bytes by which records name one image of one process.

    All but the last four name the process, whichever image it runs.
    """
    return _IMAGE.pack(start_boot_ns, tgid, exec_id)


def exec_id_of(key: bytes) -> int:
    """Return which image of its process such a key names."""
    return int.from_bytes(key[12:], "little")


class Process:
    """One image of one process; `hold` has its events while one of them must wait.

    `key` is its `image_key`, `pid` its tgid in decimal. `previous` is the image before
    this one; that which it had from its parent is made of its fork when asked for.
    `is_plain` says of its image, `has_plain_args` of its arguments, that they are
    `texts.is_plain`. `launch` is there until event 1 is made, `ended_uid` at the end.
    """

    __slots__ = (
        "args",
        "ended_boot_ns",
        "ended_uid",
        "guid",
        "has_plain_args",
        "hold",
        "image",
        "is_kernel_thread",
        "is_plain",
        "key",
        "launch",
        "parent",
        "pid",
        "previous",
        "uid",
    )

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
        self.is_kernel_thread = False
        self.ended_uid = -1
        self.ended_boot_ns = 0
        self.hold: deque[Any] | None = None

    @property
    def start_boot_ns(self) -> int:
        """When it was forked, on the boot clock."""
        return int(_IMAGE.unpack(self.key)[0])

    @property
    def tgid(self) -> int:
        """Its process id, in the first pid namespace."""
        return int(self.pid)

    @property
    def exec_id(self) -> int:
        """Which image of the process this is."""
        return exec_id_of(self.key)

    @property
    def has_exited(self) -> bool:
        """Whether a record said that it has ended."""
        return self.ended_uid != -1

    @property
    def is_alive(self) -> bool:
        """Whether its end has not been seen."""
        return self.ended_boot_ns == 0


#: Stands for the image before the first that a process has run: its parent's, when it
#: was forked. It is made when somebody asks for it.
FORKED = Process(b"", NO_GUID, "0", 0)
