# SPDX-License-Identifier: MIT
"""Where lines go: the system's log socket, a file, standard output.

No sink blocks, and none raises for what happens outside; see `spool`.
"""

from __future__ import annotations

from typing import Protocol

from sysmonlx.output.lines import Lines


class Sink(Protocol):
    """What the pipeline may ask of every sink."""

    trouble: str
    """Why nothing is written at present, with the path; empty while all is well."""

    @property
    def delivered(self) -> int:
        """Lines that the kernel took."""

    @property
    def lost(self) -> int:
        """Lines given up, for all reasons."""

    @property
    def losses(self) -> dict[str, int]:
        """The same by reason."""

    @property
    def spooled(self) -> int:
        """Lines that wait."""

    @property
    def spooled_bytes(self) -> int:
        """Size of what waits."""

    def write(self, lines: list[bytes], wall_s: int) -> None:
        """Take `lines`, without newline, at `wall_s` seconds since the epoch."""

    def write_framed(self, lines: Lines) -> None:
        """Take lines that begin with what `before` returned."""

    def before(self, wall_s: int) -> str:
        """Return what each line begins with at that second since the epoch; ASCII."""

    def flush(self) -> None:
        """Write what waits, as far as that goes without blocking."""

    def wants_writable(self) -> bool:
        """Whether flush() should be called once fileno() is writable."""

    def fileno(self) -> int | None:
        """Return what to poll; changes on reconnect. None: flush() on a timer."""

    def reopen(self) -> None:
        """Open the destination anew, after rotation."""

    def close(self, timeout_s: float) -> None:
        """Write what waits for so long at most, count the rest as lost, close."""
