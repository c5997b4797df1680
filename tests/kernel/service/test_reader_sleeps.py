# SPDX-License-Identifier: MIT
"""Where nothing happens the reader sleeps, and the first record wakes it."""

from __future__ import annotations

import select
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.running import DEADLINE_S, Daemon, wait_until

from sysmonlx.capture.sensor import Capture, load_capture

pytestmark = pytest.mark.kernel

#: A reader that looks every 50 ms makes twenty.
SWITCHES = 10


@pytest.fixture
def capture() -> Iterator[Capture]:
    made = load_capture((), 1 << 20, 1 << 18)
    made.attach_processes()
    yield made
    made.close()


def is_asleep(capture: Capture) -> bool:
    """Tell what the kernel side takes the reader for."""
    offset, _ = capture.btf.variables(".bss")["reader_sleeps"]
    data = capture.maps[".bss"].lookup(bytes(4))
    return bool(struct.unpack_from("=I", data, offset)[0])


def test_the_end_of_a_process_wakes_a_reader_that_sleeps(capture: Capture) -> None:
    process = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    with select.epoll() as epoll:
        epoll.register(capture.ring.fileno(), select.EPOLLIN)
        while capture.ring.read() or epoll.poll(0.1):
            pass
        capture.set_variable("reader_sleeps", 1)
        assert is_asleep(capture)
        process.communicate()
        assert epoll.poll(DEADLINE_S) == [(capture.ring.fileno(), select.EPOLLIN)]
        assert not is_asleep(capture)


def switches(pid: int) -> int:
    """Return how often a process has gone to sleep of its own."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def test_a_daemon_with_nothing_to_do_sleeps(daemon: Callable[..., Daemon]) -> None:
    started = daemon()

    def has_slept() -> bool:
        before = switches(started.process.pid)
        time.sleep(1)
        return switches(started.process.pid) - before < SWITCHES

    wait_until(has_slept)
    _, events = started.run(["/bin/true", "again"])
    assert [event["EventID"] for event in events] == ["1", "5"]
