# SPDX-License-Identifier: MIT
"""The flows that threads had part in lately, by processor, and who may write them."""

from __future__ import annotations

import ctypes
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sysmonlx.bpf.btf import Kind
from sysmonlx.bpf.libbpf import possible_cpus
from sysmonlx.capture.sensor import Capture, load_capture
from sysmonlx.enrich.registry import ALL_HOOKS

pytestmark = pytest.mark.kernel

SLOTS = 64
HEAD = struct.Struct("=I20xI")  # struct record_header: type, tgid
SENDS = """
import socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(5):
    sender.sendto(b"x", ("127.0.0.1", int(sys.argv[1])))
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def capture() -> Iterator[Capture]:
    hooks = [each for each in ALL_HOOKS if "udp_sent" in each.alternatives[0]]
    made = load_capture(hooks, 1 << 20, 1 << 18)
    made.set_variable("udp_interval_ns", 10**12)
    made.attach_processes()
    made.want(hooks)
    yield made
    made.close()


def slot_class(capture: Capture) -> Any:
    return capture.btf.ctype(capture.btf.find("udp_recent", Kind.STRUCT))


def set_writers(capture: Capture, count: int) -> None:
    """Make all slots empty, with so many tasks in the middle of writing each."""
    value = bytes(slot_class(capture)(writers=count)) * possible_cpus()
    for slot in range(SLOTS):
        capture.maps["udp_recently"].update(struct.pack("=I", slot), value)


def written(capture: Capture) -> list[Any]:
    """Return the slots, of all processors, that a thread has."""
    kind = slot_class(capture)
    size = ctypes.sizeof(kind)
    found = []
    for slot in range(SLOTS):
        data = capture.maps["udp_recently"].lookup(
            struct.pack("=I", slot), size * possible_cpus()
        )
        found += [kind.from_buffer_copy(data, at) for at in range(0, len(data), size)]
    return [each for each in found if each.tid]


def send(capture: Capture, pause_s: float = 0) -> tuple[int, int]:
    """Send datagrams of one flow; return who did, and how often it was reported."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        port = str(receiver.getsockname()[1])
        sender = subprocess.Popen([sys.executable, "-c", SENDS, port, str(pause_s)])
        assert sender.wait() == 0
    kind = capture.layouts.number["network_connect"]
    heads = [HEAD.unpack_from(each) for each in capture.ring.read(10**6)]
    return sender.pid, heads.count((kind, sender.pid))


def test_a_flow_has_a_slot_of_its_thread(capture: Capture) -> None:
    set_writers(capture, 0)
    pid, reported = send(capture)
    assert reported == 1
    (slot,) = [each for each in written(capture) if each.tid == pid]
    assert slot.writers == 0
    assert slot.flow.remote_port


def test_an_interval_ends_while_the_slot_stays(capture: Capture) -> None:
    capture.set_variable("udp_interval_ns", 1)
    assert send(capture, pause_s=0.02)[1] == 5


def test_without_an_interval_each_datagram_is_reported(capture: Capture) -> None:
    capture.set_variable("udp_interval_ns", 0)
    assert send(capture)[1] == 5


def test_a_slot_that_another_writes_is_left_alone(capture: Capture) -> None:
    set_writers(capture, 1)
    _, reported = send(capture)
    assert reported == 1  # there are slower ways to know
    assert written(capture) == []
    set_writers(capture, 0)
    pid, _ = send(capture)
    assert pid in {each.tid for each in written(capture)}
