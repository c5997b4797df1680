# SPDX-License-Identifier: MIT
"""Records of files in a ring buffer, without a daemon that reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sysmonlx.capture.sensor import Capture, load_capture
from sysmonlx.enrich.file import FILE_HOOKS

RING_BYTES = 4 << 20


@contextmanager
def file_capture() -> Iterator[Capture]:
    """Capture names that files get and lose, into a ring of RING_BYTES."""
    made = load_capture(FILE_HOOKS, RING_BYTES, RING_BYTES // 2)
    made.attach_processes()
    numbers = made.layouts.number
    wanted = 1 << numbers["file_create"] | 1 << numbers["file_delete"]
    made.set_variable("wanted_records", wanted)
    made.want(FILE_HOOKS)
    yield made
    made.close()
