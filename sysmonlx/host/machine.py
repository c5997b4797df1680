# SPDX-License-Identifier: MIT
"""Facts of this machine: its id, and the distance of wall clock and boot clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from sysmonlx.errors import InstallError
from sysmonlx.host.private_files import read_file, write_private

_SMALL_FILE_BYTES = 4096

#: Farther from 1970 than this, in ns, no clock is: 146 years.
_OFFSET_LIMIT_NS = 1 << 62


def boot_offset(
    state_dir: Path,
    boot_id: str,
    *,
    store: bool = True,
    tell: Callable[[str], object] = str,
) -> int:
    """Return the wall clock minus the boot clock in ns, the same for a whole boot.

    ProcessGuid is made with it: a clock that is set later must not change the GUID of
    a process. The first who asks in a boot fixes it; with `store` off (who may not
    write) an offset already fixed is used and none is kept. One that cannot be stored
    is no reason to stop: it holds until the daemon ends, and `tell` is told.
    """
    path = state_dir / "boot_offset"
    kept = _kept_offset(path, boot_id)
    if kept is not None:
        return kept
    offset = measure_boot_offset()
    if store:
        try:
            write_private(path, f"{boot_id} {offset}\n".encode())
        except InstallError as error:
            tell(f"{error}; ProcessGuid changes with the next start")
    return offset


def measure_boot_offset() -> int:
    """Return CLOCK_REALTIME minus CLOCK_BOOTTIME in ns, as of now."""
    best = (1 << 62, 0)
    for _ in range(5):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        best = min(best, (after - before, wall - (before + after) // 2))
    return best[1]


def _kept_offset(path: Path, boot_id: str) -> int | None:
    words = _read_small(path).split()
    if len(words) != 2 or words[0] != boot_id.encode():
        return None
    try:
        offset = int(words[1])
    except ValueError:
        return None
    return offset if abs(offset) < _OFFSET_LIMIT_NS else None


def machine_id(path: Path = Path("/etc/machine-id")) -> int:
    """Return the first 8 hex digits of machine-id(5) as a number, 0 without them."""
    digits = _read_small(path)[:8]
    try:
        return int(digits, 16) if len(digits) == 8 and digits.isalnum() else 0
    except ValueError:
        return 0


def _read_small(path: Path) -> bytes:
    try:
        return read_file(path, _SMALL_FILE_BYTES)
    except OSError:
        return b""
