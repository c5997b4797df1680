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
        self._second = -1
        self._begin = ""

    def process_guid(self, tgid: int, start_boot_ns: int, exec_id: int) -> str:
        """Return the ProcessGuid of one image of one process."""
        second, ns = divmod(start_boot_ns + self._offset_ns, _SECOND_NS)
        return self._guid(
            second, ns << 34 | (tgid & 0x3FFFFF) << 12 | (exec_id & 0xFFF)
        )

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
    """One image of one process; `hold` has its events while one of them must wait.

    `is_plain` says of its image, `has_plain_args` of its arguments, that they can be
    printed as they are: see `is_plain()`.
    """

    __slots__ = (
        "_guid",
        "args",
        "ended_boot_ns",
        "exec_id",
        "has_exited",
        "has_plain_args",
        "hold",
        "identity",
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
        self, identity: Identity, tgid: int, start_boot_ns: int, exec_id: int, uid: int
    ) -> None:
        self.identity = identity
        self.tgid = tgid
        self.start_boot_ns = start_boot_ns
        self.exec_id = exec_id
        self.uid = uid
        self.image = self.args = UNKNOWN
        self.is_plain = self.has_plain_args = True
        self.is_kernel_thread = False
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
