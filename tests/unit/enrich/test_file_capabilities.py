# SPDX-License-Identifier: MIT
"""Capabilities of files as text; what is none is no text."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmonlx.enrich.file_capabilities import CAPABILITIES, capabilities_text

V1, V2, V3, EFFECTIVE = 1 << 24, 2 << 24, 3 << 24, 1
ALL = (1 << len(CAPABILITIES)) - 1


def value(
    permitted: int, inheritable: int = 0, *, magic: int = V2 | EFFECTIVE
) -> bytes:
    low, high = 0xFFFFFFFF, 32
    words = [permitted & low, inheritable & low, permitted >> high, inheritable >> high]
    return struct.pack("<5I", magic, *words)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (value(1 << 13), "cap_net_raw=ep"),
        (value(1 << 13, magic=V2), "cap_net_raw=p"),
        (value(1 << 10 | 1 << 13), "cap_net_bind_service,cap_net_raw=ep"),
        (value(1 << 7, 1 << 6), "cap_setgid=ei cap_setuid=ep"),
        (value(1 << 7, 1 << 7), "cap_setuid=eip"),
        (value(1 << 40), "cap_checkpoint_restore=ep"),
        (value(1 << 63), "63=ep"),
        (value(ALL), "=ep"),
        (value(0), "="),
        (struct.pack("<3I", V1 | EFFECTIVE, 1 << 5, 0), "cap_kill=ep"),
        (value(1, magic=V3) + struct.pack("<I", 1000), "cap_chown=p [rootid=1000]"),
        (value(1, magic=V3) + bytes(4), "cap_chown=p"),
        (b"", ""),
        (b"\1\0\0\2", ""),
        (value(1)[:-1], ""),
        (value(1) + b"\0", ""),
        (value(1, magic=V3), ""),
        (value(1, magic=9 << 24), ""),
    ],
)
def test_text_is_that_of_getcap(data: bytes, text: str) -> None:
    assert capabilities_text(data) == text


@given(st.binary(max_size=32))
def test_any_bytes_give_a_short_plain_text(data: bytes) -> None:
    text = capabilities_text(data)
    assert len(text) < 1024
    assert text.isascii()
    assert text.isprintable()
