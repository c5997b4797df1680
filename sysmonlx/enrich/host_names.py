# SPDX-License-Identifier: MIT
"""Names of hosts by address, learnt from the answers to DNS questions.

An address has the name by which the process that connects has asked for it. Without
one it has the name of another process of the same user, else that of a process of the
system, such as a resolver. No user can give names to addresses to which others connect.
"""

from __future__ import annotations

from collections.abc import Iterable

from sysmonlx.enrich.dns_message import Answer
from sysmonlx.enrich.fair_share import FairShare
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.processes.process import PROCESS_BYTES, Process

#: Most names of one user, and of all.
OF_USER, OF_ALL = 4096, 16_384
#: How long a name is known, whatever its time to live, in seconds.
_LEAST_S, _MOST_S = 60, 3600
_SECOND_NS = 1_000_000_000
#: User ids from here on are of people, login.defs(5): UID_MIN.
_FIRST_OF_PEOPLE = 1000
_MAPPED = bytes(10) + b"\xff\xff"


def _of_user(uid: int) -> bytes:
    """Return what stands for a user; 12 bytes, and no 8, stand for a process."""
    return uid.to_bytes(8, "little", signed=True)


#: Stands for all users of the system.
_SYSTEM = _of_user(-1)


class HostNames:
    """The names that are known; `known` is empty where none are wanted."""

    def __init__(self) -> None:
        # The key is who named it, and the address: 4 or 16 bytes. Who is the first
        # bytes of an image key, which name a process, or stands for a user. One piece
        # takes less than half of the memory of two.
        self._names: FairShare[bytes, tuple[str, int]] = FairShare(OF_USER, OF_ALL)
        self.known = self._names.entries
        """Always the same object, to see at once that there is nothing."""

    def learn(
        self,
        process: Process,
        uid: int,
        name: str,
        addresses: Iterable[Answer],
        boot_ns: int,
    ) -> None:
        """Take an answer that this process of a user had; `boot_ns` is when it came."""
        user = _of_user(uid) if uid >= _FIRST_OF_PEOPLE else _SYSTEM
        own = process.key[:PROCESS_BYTES]
        for address, ttl_s in addresses:
            until_ns = boot_ns + min(max(ttl_s, _LEAST_S), _MOST_S) * _SECOND_NS
            plain = address.removeprefix(_MAPPED)
            value = name, until_ns
            for who in (user, own):
                self._names.add(who + plain, value, uid)

    def name(self, address: bytes, process: Process, uid: int, boot_ns: int) -> str:
        """Return what a process of a user calls an address, "-" where it has no name.

        `address` has 4 or 16 bytes.
        """
        for who in (process.key[:PROCESS_BYTES], _of_user(uid), _SYSTEM):
            found = self.known.get(who + address)
            if found is not None and boot_ns < found[1][1]:
                return found[1][0]
        return UNKNOWN

    def forget(self) -> None:
        """Know nothing any more."""
        self._names.clear()
