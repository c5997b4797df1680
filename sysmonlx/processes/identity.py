# SPDX-License-Identifier: MIT
"""GUIDs of processes and logons."""

from __future__ import annotations

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
