# SPDX-License-Identifier: MIT
"""The journal of systemd as a sink, by its native protocol."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket

from sysmonlx.output.sinks.datagrams import SEND_FLAGS
from sysmonlx.output.sinks.spool import RETRY_S, SPOOL_LIMIT_BYTES, TRY_LATER
from sysmonlx.output.sinks.syslog import SyslogSink

SOCKET = "/run/systemd/journal/socket"

#: The journal takes only files that nobody can change any more.
_SEALS = (
    fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
)


class JournaldSink(SyslogSink):
    """The native socket of the journal. Lines are entries, see `output.journal`.

    An entry that is longer than a datagram may be goes as a sealed file in memory.
    """

    def __init__(
        self,
        path: str = SOCKET,
        spool_limit_bytes: int = SPOOL_LIMIT_BYTES,
        retry_s: float = RETRY_S,
    ) -> None:
        super().__init__(path, spool_limit_bytes, retry_s)

    def before(self, wall_s: int) -> str:
        """Return nothing: an entry begins with its first field."""
        return ""

    def _failed(self, error: OSError) -> bool:
        if error.errno != errno.EMSGSIZE or self._socket is None:
            return super()._failed(error)
        try:
            _send_as_file(self._socket, self._spool.messages[0])
        except OSError as second:
            if second.errno == errno.EMSGSIZE:
                self._spool.drop_first("longer than the journal takes")
                return True
            return second.errno not in TRY_LATER and super()._failed(second)
        self._spool.sent(1)
        return True


def _send_as_file(journal: socket.socket, entry: bytes) -> None:
    """Send an entry as a file in memory.

    Raises:
        OSError: there is no room for it, or the journal takes none now.
    """
    fd = os.memfd_create("sysmonlx", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with contextlib.closing(os.fdopen(fd, "wb")) as file:
        file.write(entry)
        file.flush()
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        socket.send_fds(journal, [b""], [fd], SEND_FLAGS)
