# SPDX-License-Identifier: MIT
"""Names of ports, from services(5)."""

from __future__ import annotations

from pathlib import Path

from sysmonlx.host.aside import Aside, begun
from sysmonlx.host.watched_file import WatchedFile
from sysmonlx.kernel_text import UNKNOWN

LIMIT_BYTES = 4 << 20


class Services:
    """Port names by protocol; the file is read at first use and when it changes.

    Another thread reads it. Until it has, ports have no names.
    """

    def __init__(
        self, path: Path = Path("/etc/services"), aside: Aside | None = None
    ) -> None:
        lane = (aside or begun()).files
        empty: dict[str, dict[int, str]] = {}
        self._file = WatchedFile(path, read_services, empty, lane)
        self._was_asked = False

    def port_name(self, port: int, protocol: str) -> str:
        """Return the name of `port` in `protocol` ("tcp", "udp"), "-" when it has none.

        Where several entries share a port the first counts, as in getservbyport(3).
        """
        if not self._was_asked:
            self._was_asked = True
            self._file.renew()
        names = self._file.value.get(protocol)
        return names.get(port, UNKNOWN) if names else UNKNOWN

    def renew(self) -> None:
        """Read the file again if it has changed; not before a port was asked for."""
        if self._was_asked:
            self._file.renew()


def read_services(path: Path) -> dict[str, dict[int, str]]:
    """Return port names by protocol; empty when there is no file to read."""
    try:
        with open(path, "rb") as file:
            text = file.read(LIMIT_BYTES).decode("utf-8", "surrogateescape")
    except OSError:
        return {}
    names: dict[str, dict[int, str]] = {}
    for line in text.split("\n"):
        words = line.partition("#")[0].split()
        port, slash, protocol = words[1].partition("/") if len(words) > 1 else ("",) * 3
        if slash and port.isascii() and port.isdigit():
            names.setdefault(protocol, {}).setdefault(int(port), words[0])
    return names
