# SPDX-License-Identifier: MIT
"""Logs for the tests of `sysmonlx-logview`, and the command run on them."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from sysmonlx.output.render import Renderer
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.viewer.main import main

REPOSITORY = Path(__file__).resolve().parents[2]
RECORDED = REPOSITORY / "tests/data/recorded.log"


class Output(NamedTuple):
    """What a run of the command gave."""

    status: int
    out: str
    err: str


#: 2026-01-05 10:00:00 UTC in ns.
START_NS = 1_767_607_200 * 10**9


def values_of(event_id: int, **values: str) -> list[str]:
    """Return the values of an event, "-" where none is given."""
    return [values.get(field.name, "-") for field in EVENT_BY_ID[event_id].fields]


def line(
    event_id: int, record_id: int = 1, *, form: str = "xml", s: float = 0, **values: str
) -> str:
    """Return a line of the service; `s` is seconds after START_NS."""
    wall_ns = START_NS + round(s * 1000) * 10**6
    utc = f"2026-01-05 10:{int(s) // 60:02}:{s % 60:06.3f}"
    texts = values_of(event_id, **{"UtcTime": utc, **values})
    renderer = Renderer(form, "host1", 1, 1, 0, 1 << 20)
    return renderer.line(event_id, texts, record_id, wall_ns).decode()


def syslog(*lines: str) -> bytes:
    """Return lines of a syslog file."""
    head = "Jan  5 10:00:00 host1 sysmon: "
    return "".join(f"{head}{each}\n" for each in lines).encode(
        "utf-8", "surrogateescape"
    )


def logview(*arguments: str, data: bytes = b"", name: str = "logview") -> Output:
    """Run the command in this process, on data at its standard input."""
    out, err = io.BytesIO(), io.BytesIO()
    before = sys.argv, sys.stdin, sys.stdout, sys.stderr
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        streams = [io.TextIOWrapper(each, "utf-8") for each in (file, out, err)]
        try:
            sys.argv = [name]
            sys.stdin, sys.stdout, sys.stderr = streams
            status = main([*arguments])
        finally:
            sys.argv, sys.stdin, sys.stdout, sys.stderr = before
            for stream in streams:
                stream.detach()
        return Output(status, out.getvalue().decode(), err.getvalue().decode())
