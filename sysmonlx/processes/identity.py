# SPDX-License-Identifier: MIT
"""GUIDs of processes and logons."""

from __future__ import annotations

NO_GUID = "{00000000-0000-0000-0000-000000000000}"

_SECOND_NS = 1_000_000_000


class Identity:
    """Makes GUIDs: `{MMMMMMMM-LLLL-HHHH-KKKK-KKKKKKKKKKKK}`.

    M is `machine`, the first 32 bits of the machine id. L and H are the lower and upper
    16 bits of a time in seconds since the epoch: of the fork for processes, of the
    logon for logons. K is a 64-bit key, its bytes from the lowest to the highest.

    The key of a process has, from its highest bit on, 30 bits of the start in ns of the
    boot clock (these bits do not come again within one second), the tgid (22 bits) and
    the exec id (12 bits). `offset_ns` is the wall clock minus the boot clock in ns, one
    number for the whole boot: an image keeps its GUID when the clock is set.
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
        """Return the ProcessGuid that has this key: `image_id` of process_create."""
        if not self._from_ns <= start_boot_ns < self._until_ns:
            self._turn_to(start_boot_ns)
        return f"{self._begin}{key.hex('-', 6)}}}"

    def logon_guid(self, second: int, tty_index: int, uid: int) -> str:
        """Return the LogonGuid of a user on a terminal.

        `second` is the time of the logon since the epoch, 0 where it is not known.
        """
        key = (tty_index & 0xFFFFFFFF) << 32 | uid
        begin = self._begin_of(second)
        return f"{begin}{key.to_bytes(8, 'little').hex('-', 6)}}}"

    def _turn_to(self, start_boot_ns: int) -> None:
        """Prepare GUIDs of processes that start within the same second."""
        second, ns = divmod(start_boot_ns + self._offset_ns, _SECOND_NS)
        self._from_ns = start_boot_ns - ns
        self._until_ns = self._from_ns + _SECOND_NS
        self._begin = self._begin_of(second)

    def _begin_of(self, second: int) -> str:
        low, high = second & 0xFFFF, second >> 16 & 0xFFFF
        return f"{{{self._machine:08x}-{low:04x}-{high:04x}-"
