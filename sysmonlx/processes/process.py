# SPDX-License-Identifier: MIT
"""One image of one process, and the GUIDs of processes and logons."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from sysmonlx.kernel_text import UNKNOWN

NO_GUID = "{00000000-0000-0000-0000-000000000000}"

_SECOND_NS = 1_000_000_000


class Identity:
    """Makes GUIDs: `{machine-low second-high second-key}` with a key that is unique.

    `machine` is the first half of the machine id, `offset_ns` the wall clock at boot,
    fixed for the whole boot. The 64-bit key has 30 bits of the nanosecond of the start,
    of which no second has two alike, the tgid (22) and the exec id (12).
    """

    def __init__(self, machine: int, offset_ns: int) -> None:
        self._machine = machine
        self._offset_ns = offset_ns
        self._from_ns = self._until_ns = 0
        self._begin = ""
        self._turn_to(0)

    def process_guid(self, tgid: int, start_boot_ns: int, exec_id: int) -> str:
        """Return the ProcessGuid of one image of one process.

        image_id_of() in ebpf/record.h makes the same key: change both or none.
        """
        key = ((start_boot_ns & 0x3FFFFFFF) << 22 | tgid & 0x3FFFFF) << 12
        key |= exec_id & 0xFFF
        return self.guid_of_image(start_boot_ns, key.to_bytes(8, "little"))

    def guid_of_image(self, start_boot_ns: int, key: bytes) -> str:
        """Return the same from the key, the `image_id` of a process_create record."""
        if not self._from_ns <= start_boot_ns < self._until_ns:
            self._turn_to(start_boot_ns)
        return f"{self._begin}{key.hex('-', 6)}}}"

    def logon_guid(self, second: int, tty_index: int, uid: int) -> str:
        """Return the LogonGuid of a user on a terminal; `second` 0 is unknown."""
        key = (tty_index & 0xFFFFFFFF) << 32 | uid
        begin = self._begin_of(second)
        return f"{begin}{key.to_bytes(8, 'little').hex('-', 6)}}}"

    def _turn_to(self, start_boot_ns: int) -> None:
        """Prepare GUIDs of the second of that time."""
        second, ns = divmod(start_boot_ns + self._offset_ns, _SECOND_NS)
        self._from_ns = start_boot_ns - ns
        self._until_ns = self._from_ns + _SECOND_NS
        self._begin = self._begin_of(second)

    def _begin_of(self, second: int) -> str:
        low, high = second & 0xFFFF, second >> 16 & 0xFFFF
        return f"{{{self._machine:08x}-{low:04x}-{high:04x}-"


class Shape:
    """Events 1 that differ in some values only: the rest stands in one template.

    The template is found by this very object. `own` picks the values that differ,
    `has_plain_rest` says whether the others are `texts.is_plain`.
    """

    __slots__ = ("has_plain_rest", "own")

    def __init__(
        self, own: Callable[[Sequence[Any]], tuple[Any, ...]], has_plain_rest: bool
    ) -> None:
        self.own = own
        self.has_plain_rest = has_plain_rest


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
