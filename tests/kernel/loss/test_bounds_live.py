# SPDX-License-Identifier: MIT
"""The kernel makes a ring buffer of every size that a configuration may ask for."""

from __future__ import annotations

import os

import pytest

from sysmonlx.bpf.libbpf import library
from sysmonlx.bpf.ringbuffer import RingBuffer
from sysmonlx.schema.options import SETTINGS

_MAP_TYPE_RINGBUF = 27
RING = next(setting for setting in SETTINGS if setting.element == "RingSize")


@pytest.mark.parametrize("size_bytes", [RING.low, RING.high])
def test_ring_buffer_of_both_bounds(size_bytes: int) -> None:
    fd = library().bpf_map_create(_MAP_TYPE_RINGBUF, b"bound", 0, 0, size_bytes, None)
    try:
        ring = RingBuffer(fd, size_bytes)
        assert ring.read() == []
        ring.close()
    finally:
        os.close(fd)
