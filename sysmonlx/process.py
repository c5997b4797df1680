# SPDX-License-Identifier: MIT
"""One image of one process, and the GUIDs of processes and logons."""

from __future__ import annotations

from collections import deque
from typing import Any

from sysmonlx.texts import UNKNOWN

NO_GUID = "{00000000-0000-0000-0000-000000000000}"

_SECOND_NS = 1_000_000_000


class Identity:
    """Makes GUIDs: `{machine-low second-high second-key}` with a key that is unique.

    `machine` is the first half of the machine id, `offset_ns` the wall clock at boot,
    fixed for the whole boot. The 64-bit key holds the nanosecond within the second of
    the start (30 bits), the tgid (22) and the exec id (12).
    """

    def __init__(self, machine: int, offset_ns: int) -> None:
        self._machine = machine
        self._offset_ns = offset_ns
        self._from_ns = 0
        self._begin = ""
        self._turn_to(0)

    def process_guid(self, tgid: int, start_boot_ns: int, exec_id: int) -> str:
        """Return the ProcessGuid of one image of one process."""
        ns = start_boot_ns - self._from_ns
        if not 0 <= ns < _SECOND_NS:
            ns = self._turn_to(start_boot_ns)
        key = (ns << 22 | tgid & 0x3FFFFF) << 12 | exec_id & 0xFFF
        return f"{self._begin}{key.to_bytes(8, 'little').hex('-', 6)}}}"

    def logon_guid(self, second: int, tty_index: int, uid: int) -> str:
        """Return the LogonGuid of a user on a terminal; `second` 0 is unknown."""
        key = (tty_index & 0xFFFFFFFF) << 32 | uid
        begin = self._begin_of(second)
        return f"{begin}{key.to_bytes(8, 'little').hex('-', 6)}}}"

    def _turn_to(self, start_boot_ns: int) -> int:
        """Prepare GUIDs of the second of that time; return the nanosecond in it."""
        second, ns = divmod(start_boot_ns + self._offset_ns, _SECOND_NS)
        self._from_ns = start_boot_ns - ns
        self._begin = self._begin_of(second)
        return ns

    def _begin_of(self, second: int) -> str:
        low, high = second & 0xFFFF, second >> 16 & 0xFFFF
        return f"{{{self._machine:08x}-{low:04x}-{high:04x}-"


class Process:
    """One image of one process; `hold` has its events while one of them must wait.

    `previous` is the image before this one; the exec id alone stands for the one that
    it had from its parent. `is_plain` says of its image,
    `has_plain_args` of its arguments, that they are `texts.is_plain`.
    """

    __slots__ = (
        "args",
        "ended_boot_ns",
        "exec_id",
        "guid",
        "has_exited",
        "has_plain_args",
        "hold",
        "image",
        "is_kernel_thread",
        "is_plain",
        "parent",
        "previous",
        "start_boot_ns",
        "tgid",
        "uid",
    )

    def __init__(
        self,
        identity: Identity,
        tgid: int,
        start_boot_ns: int,
        exec_id: int,
        uid: int,
        image: str = UNKNOWN,
        args: str = UNKNOWN,
        is_plain: bool = True,
        has_plain_args: bool = True,
        parent: Process | None = None,
    ) -> None:
        self.guid = identity.process_guid(tgid, start_boot_ns, exec_id)
        self.tgid = tgid
        self.start_boot_ns = start_boot_ns
        self.exec_id = exec_id
        self.uid = uid
        self.image = image
        self.args = args
        self.is_plain = is_plain
        self.has_plain_args = has_plain_args
        self.parent = parent
        self.previous: Process | int | None = None
        self.is_kernel_thread = self.has_exited = False
        self.ended_boot_ns = 0
        self.hold: deque[Any] | None = None

    @property
    def is_alive(self) -> bool:
        """Whether its end has not been seen."""
        return self.ended_boot_ns == 0


#: A process that was forked and has not done anything yet: its parent's image then, and
#: the fields of its record. Most run another program next and never need more.
Forked = tuple[Process | None, tuple[int, ...]]
