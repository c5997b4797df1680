# SPDX-License-Identifier: MIT
"""Names of ports, from services(5)."""

from __future__ import annotations

import os
from pathlib import Path

UNKNOWN = "-"
LIMIT_BYTES = 4 << 20


class Services:
    """Port names by protocol; the file is read at first use and when it changes."""

    def __init__(self, path: Path = Path("/etc/services")) -> None:
        self._path = path
        self._stamp: tuple[int, ...] | None = ()
        self._names: dict[str, dict[int, str]] = {}

    def port_name(self, port: int, protocol: str) -> str:
        """Return the name of `port` in `protocol` ("tcp", "udp"), "-" when it has none.

        Where several entries share a port the first counts, as in getservbyport(3).
        """
        if self._stamp == ():
            self._read()
        names = self._names.get(protocol)
        return names.get(port, UNKNOWN) if names else UNKNOWN

    def renew(self) -> None:
        """Read the file again if it has changed and was ever asked for."""
        if self._stamp != ():
            self._read()

    def _read(self) -> None:
        try:
            found = os.stat(self._path)
        except OSError:
            stamp = None
        else:
            stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if stamp != self._stamp:
            self._stamp = stamp
            self._names = read_services(self._path)


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
