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
#: Stands for all users of the system.
_SYSTEM = -1
_MAPPED = bytes(10) + b"\xff\xff"

#: Who asked for the name, and the address of 4 or 16 bytes. The asker is either the
#: first bytes of an image key, which stand for a process, or a user id.
_Key = tuple[bytes | int, bytes]


class HostNames:
    """The names that are known; `known` is empty where none are wanted."""

    def __init__(self) -> None:
        self._names: FairShare[_Key, tuple[str, int]] = FairShare(OF_USER, OF_ALL)
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
        user = uid if uid >= _FIRST_OF_PEOPLE else _SYSTEM
        for address, ttl_s in addresses:
            until_ns = boot_ns + min(max(ttl_s, _LEAST_S), _MOST_S) * _SECOND_NS
            plain = address.removeprefix(_MAPPED)
            for who in (user, process.key[:PROCESS_BYTES]):
                self._names.add((who, plain), (name, until_ns), uid)

    def name(self, address: bytes, process: Process, uid: int, boot_ns: int) -> str:
        """Return what a process of a user calls an address, "-" where it has no name.

        `address` has 4 or 16 bytes.
        """
        for who in (process.key[:PROCESS_BYTES], uid, _SYSTEM):
            found = self.known.get((who, address))
            if found is not None and boot_ns < found[1][1]:
                return found[1][0]
        return UNKNOWN

    def forget(self) -> None:
        """Know nothing any more."""
        self._names.clear()
