# SPDX-License-Identifier: MIT
"""The methods that every sink has. A sink is a destination of lines.

To add a sink:

1. Its name goes into `schema.options.SINK_KINDS`; `make generate` puts it into the XSD.
   Where its lines may be shorter than those of other sinks, `policy.Settings` says it
   (`line_limit_of`).
2. Its class goes into a module of this package, beside `syslog`, `file` and `stdout`.
   The base class `spool.SpoolingSink` has everything but the writing itself: the spool,
   its limit, the counts and the pauses between tries. A sink that writes to a file
   descriptor is a `streams.StreamSink`, which also moves writes that may hang into a
   thread.
3. A line in the table of `kinds` says how it is opened.
4. `tests/unit/output/sinks/test_sinks.py` runs the tests that all sinks must pass; the
   manual, sysmonlx(5), describes the setting.

Two rules hold for all sinks. No method waits: a line that the destination does not take
at once stays in the spool. No method raises for what happens outside of the program, a
full disk or an absent log daemon: `trouble` says it, and what is given up is counted.
"""

from __future__ import annotations

from typing import Protocol

from sysmonlx.output.lines import Lines


class Sink(Protocol):
    """One destination of lines."""

    trouble: str
    """Why nothing is written at present, with the path; empty while all is well."""
    more_due: int
    """Lines that are due beyond those written: one for each further reader."""

    @property
    def delivered(self) -> int:
        """Lines that the kernel took, since the sink was made."""

    @property
    def lost(self) -> int:
        """Lines given up, for all reasons together."""

    @property
    def losses(self) -> dict[str, int]:
        """Lines given up, by reason."""

    @property
    def spooled(self) -> int:
        """Lines that wait in the spool."""

    @property
    def spooled_bytes(self) -> int:
        """Size of the lines that wait, in bytes."""

    @property
    def readers(self) -> dict[str, int]:
        """Programs that read here, and what became of others; empty: none can come."""

    def news(self) -> list[str]:
        """Return what event 255 is to tell, a text each; each is told once."""

    def write(self, lines: list[bytes], wall_s: int) -> None:
        """Take lines without newline, at `wall_s` seconds since the epoch."""

    def write_framed(self, lines: Lines) -> None:
        """Take lines that begin with the text that `before` returned."""

    def before(self, wall_s: int) -> str:
        """Return the ASCII text that each line written in that second begins with.

        `wall_s` counts from the epoch. The renderer puts the text into the line, which
        saves a copy.
        """

    def flush(self) -> None:
        """Write lines of the spool, as many as the destination takes at once."""

    def attend(self) -> None:
        """Look after the destination, every second or two, also without lines."""

    @property
    def is_sent_aside(self) -> bool:
        """Whether a thread waits for room and sends; flush() counts what it sent."""

    def send_aside(self) -> None:
        """Have a thread send what waits, where that spares the caller wake-ups."""

    def wants_writable(self) -> bool:
        """Return whether flush() should be called once fileno() is writable."""

    def fileno(self) -> int | None:
        """Return the descriptor to poll, another one after each reconnect.

        None: there is nothing to poll; flush() must be called by a timer.
        """

    def reopen(self) -> None:
        """Open the destination anew, after the file was moved away by rotation."""

    def close(self, timeout_s: float) -> None:
        """Write the spool for `timeout_s` at most, count the rest as lost, close."""
