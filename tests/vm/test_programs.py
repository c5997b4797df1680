# SPDX-License-Identifier: MIT
"""Which programs a kernel takes: the better ones where it can, a reason where not."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from sysmonlx.capture.hooks import program_of
from sysmonlx.capture.loader import OBJECT, OLDER_OBJECT, UNCAST_OBJECT
from sysmonlx.capture.sensor import Capture, load_capture
from sysmonlx.enrich.registry import ALL_HOOKS

pytestmark = pytest.mark.kernel

SERIES = ".".join(os.uname().release.split(".")[:2])

#: What has the directory entry or the socket in hand: any stock kernel allows it.
BETTER = {
    *("path_unlink", "path_rename", "path_link", "tcp_accept_grafted"),
    *("module_loaded", "module_read"),
    *("attribute_was_set", "times_setting"),
}

#: Where kernels differ: which alternative serves, and what none does.
ALTERNATIVES = {
    "5.10": {
        "process_terminate_by_live",
        "tcp_connect_by_address",
        "udp_received_datagram",
        "socket_connecting",
    },
    "6.1": {
        "process_terminate_by_live",
        "tcp_connect",
        "udp_received_v4",
        "udp_received_v6",
        "socket_connecting",
        "dns_call_received_by_function",
    },
    "6.12": {
        "process_terminate_by_live",
        "tcp_connect",
        "udp_received",
        "socket_connecting",
        "dns_call_received",
    },
    "7.3": {
        "process_terminate",
        "tcp_connect",
        "udp_received",
        "unix_connecting",
        "dns_call_received",
    },
}
#: The tracepoints of io_uring give no request there.
THROUGH_RINGS = {
    hook.name
    for hook in ALL_HOOKS
    if any("io_uring_name_begun" in group for group in hook.alternatives)
    and not hook.behind
}
#: Needs bpf_task_pt_regs(), which Linux 5.15 has.
CALLS = "calls of systemd-resolved"
MISSING = {
    "5.10": {*THROUGH_RINGS, CALLS},
    "6.1": set(),
    "6.12": set(),
}
known_kernel = pytest.mark.skipif(
    SERIES not in ALTERNATIVES, reason=f"nothing is laid down for kernel {SERIES}"
)


@pytest.fixture(scope="module")
def capture() -> Iterator[Capture]:
    made = load_capture(ALL_HOOKS, 1 << 20, 1 << 18)
    made.attach_processes()
    made.want(ALL_HOOKS)
    yield made
    made.close()


def test_every_hook_is_served_or_says_why(
    capture: Capture, capsys: pytest.CaptureFixture[str]
) -> None:
    attached = capture.attached()
    with capsys.disabled():
        print(f"\n{os.uname().release}: {' '.join(sorted(attached))}")
        for each in capture.missing:
            print(f"missing: {each}")
    missing = {each.hook.name for each in capture.missing}
    for hook in ALL_HOOKS:
        if hook.behind in missing:  # of no use without it: nothing is told
            assert hook.name not in missing
            continue
        served = any(attached.issuperset(group) for group in hook.alternatives)
        assert served != (hook.name in missing)
    assert all(each.reason for each in capture.missing)


@known_kernel
def test_better_hooks_are_used(capture: Capture) -> None:
    assert capture.attached() >= BETTER | ALTERNATIVES[SERIES]


@known_kernel
def test_nothing_else_is_missing(capture: Capture) -> None:
    assert {each.hook.name for each in capture.missing} == MISSING[SERIES]


@known_kernel
def test_the_object_is_the_one_for_this_kernel(capture: Capture) -> None:
    expected = {"5.10": OLDER_OBJECT, "6.1": UNCAST_OBJECT, "6.12": OBJECT}
    assert capture._loader.path == expected[SERIES]


def test_times_of_all_programs_are_known(capture: Capture) -> None:
    assert capture.program_times().keys() >= {*map(program_of, capture.attached())}


def test_running_processes_are_scanned(capture: Capture) -> None:
    decode = capture.layouts.by_name["process_scan"].decode
    records = [*map(decode, capture.scan())]
    (own,) = [each for each in records if each.tgid == os.getpid()]
    assert own.image == os.fsencode(os.path.realpath("/proc/self/exe"))
