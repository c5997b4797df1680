# SPDX-License-Identifier: MIT
from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from sysmonlx.process import NO_GUID, Identity

SECOND = 1_000_000_000


def test_guid_has_the_layout_of_sysmon() -> None:
    identity = Identity(0xC30C9345, 0x670359F2 * SECOND)
    guid = identity.process_guid(0x2345, 0x123, 7)
    data = uuid.UUID(guid).bytes_le
    assert guid.startswith("{c30c9345-59f2-6703-")
    assert int.from_bytes(data[8:], "little") == 0x123 << 34 | 0x2345 << 12 | 7
    assert identity.logon_guid(0, 1, 1000) == "{c30c9345-0000-0000-e803-000001000000}"
    assert identity.logon_guid(0x670359F2, 0, 0) == (
        "{c30c9345-59f2-6703-0000-000000000000}"
    )


Images = st.tuples(
    st.integers(1, (1 << 22) - 1),
    st.integers(0, 1 << 61),
    st.integers(0, 4095),
)


@given(Images, Images)
def test_two_images_never_share_a_guid(
    one: tuple[int, int, int], two: tuple[int, int, int]
) -> None:
    identity = Identity(1, 1_700_000_000_123_456_789)
    guids = {identity.process_guid(*one), identity.process_guid(*two)}
    assert len(guids) == len({one, two})


def test_no_guid_is_all_zero() -> None:
    assert uuid.UUID(NO_GUID).int == 0
