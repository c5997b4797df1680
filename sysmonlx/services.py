# SPDX-License-Identifier: MIT
"""Names of ports, from services(5)."""

from __future__ import annotations

import os
import time
from pathlib import Path

UNKNOWN = "-"
LIMIT_BYTES = 4 << 20


class Services:
    """Port names by protocol; the file is read at first use and when it changes."""

    def __init__(
        self, path: Path = Path("/etc/services"), *, look_interval_s: float = 1.0
    ) -> None:
        self._path = path
        self._look_interval_s = look_interval_s
        self._next_look = 0.0
        self._stamp: tuple[int, ...] | None = ()
        self._names: dict[str, dict[int, str]] = {}

    def port_name(self, port: int, protocol: str) -> str:
        """Return the name of `port` in `protocol` ("tcp", "udp"), "-" when it has none.

        Where several entries share a port the first counts, as in getservbyport(3).
        """
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + self._look_interval_s
            self._renew()
        names = self._names.get(protocol)
        return names.get(port, UNKNOWN) if names else UNKNOWN

    def _renew(self) -> None:
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
