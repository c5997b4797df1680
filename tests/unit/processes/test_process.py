# SPDX-License-Identifier: MIT
from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st
from support.recordtable import image_id

from sysmonlx.capture.records import Layouts
from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.processes.identity import NO_GUID, Identity
from sysmonlx.processes.launches import NO_LAUNCH
from sysmonlx.processes.process import Process, image_key

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


@given(Images)
def test_guid_is_the_same_from_the_id_that_records_have(
    image: tuple[int, int, int],
) -> None:
    identity = Identity(1, 1_700_000_000_123_456_789)
    key = image_id(*image).to_bytes(8, "little")
    assert identity.guid_of_image(image[1], key) == identity.process_guid(*image)


def test_no_guid_is_all_zero() -> None:
    assert uuid.UUID(NO_GUID).int == 0


Numbers = st.integers(0, 2**32 - 1)


@given(tgid=Numbers, start_boot_ns=st.integers(0, 2**64 - 1), exec_id=Numbers)
def test_image_key_is_what_records_have(
    layouts: Layouts, tgid: int, start_boot_ns: int, exec_id: int
) -> None:
    key = image_key(tgid, start_boot_ns, exec_id)
    process = Process(key, "{guid}", str(tgid), 0)
    assert (process.start_boot_ns, process.tgid) == (start_boot_ns, tgid)
    assert process.exec_id == exec_id
    named = {"start_boot_ns": start_boot_ns, "tgid": tgid, "exec_id": exec_id}
    for layout in layouts.by_name.values():
        assert layout.encode(**named)[layout.span(*named)] == key
    parent = {f"parent_{name}": value for name, value in named.items()}
    fork = layouts.by_name["process_fork"]
    assert fork.encode(**parent)[fork.span(*parent)] == key


def test_image_key_begins_with_the_name_of_the_process() -> None:
    assert image_key(1, 2, 3)[:12] == image_key(1, 2, 4)[:12]
    assert image_key(1, 2, 3)[:12] != image_key(2, 2, 3)[:12]
    assert image_key(1, 2, 3)[:12] != image_key(1, 3, 3)[:12]


def test_process_is_what_its_key_says() -> None:
    process = Process(image_key(7, 8 * SECOND, 9), "{guid}", "7", 1000)
    assert (process.tgid, process.pid) == (7, "7")
    assert (process.start_boot_ns, process.exec_id) == (8 * SECOND, 9)
    assert (process.image, process.args) == (UNKNOWN, UNKNOWN)
    assert process.launch is NO_LAUNCH
    assert process.is_alive
    process.ended_boot_ns = 1
    assert not process.is_alive


def child_of(parent: Process | None, tgid: int, exec_id: int, image: str) -> Process:
    key = image_key(tgid, tgid, exec_id)
    return Process(key, str(tgid), str(tgid), 0, image, parent=parent)


def test_program_of_a_fork_is_that_of_the_process_that_ran_it() -> None:
    first = child_of(None, 1, 1, "/init")
    shell = child_of(first, 2, 7, "/bin/bash")
    subshell = child_of(shell, 3, 7, "/bin/bash")
    within = child_of(subshell, 4, 7, "/bin/bash")
    other = child_of(within, 5, 8, "/bin/bash")  # it ran bash anew
    assert [each.with_program().pid for each in (first, shell)] == ["1", "2"]
    assert [each.with_program().pid for each in (subshell, within)] == ["2", "2"]
    assert other.with_program() is other
