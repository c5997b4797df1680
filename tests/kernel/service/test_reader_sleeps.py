# SPDX-License-Identifier: MIT
"""When the reader looks at the ring buffer, and which records wake it.

Where nothing happens it sleeps, and the first record wakes it. While records come it
looks once each tick, unless a record is in haste.
"""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.running import DEADLINE_S, Daemon, wait_until

from sysmonlx.capture.sensor import Capture, load_capture
from sysmonlx.enrich.file import FILE_HOOKS

pytestmark = pytest.mark.kernel

#: A reader that looks every 50 ms makes twenty.
SWITCHES = 10
#: The reader is woken when so much waits in the ring, and at each multiple.
WAKE_BYTES = 1 << 14


@pytest.fixture(scope="module")
def capture() -> Iterator[Capture]:
    made = load_capture(FILE_HOOKS, 1 << 20, WAKE_BYTES)
    made.attach_processes()
    yield made
    made.close()


def pause_of(capture: Capture) -> str:
    """Return what the kernel side takes the reader for."""
    number = capture.variable("reader_pause")
    return next(name for name, each in capture.pauses.items() if each == number)


def say(capture: Capture, pause: str) -> None:
    capture.set_variable("reader_pause", capture.pauses[pause])


class Woken:
    """Tells whether the ring buffer wakes whoever waits for it."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.fd = capture.ring.fileno()
        self.epoll = select.epoll()
        self.epoll.register(self.fd, select.EPOLLIN)

    def settle(self, pause: str) -> None:
        """Read what is there until nothing more comes; then say how the reader waits.

        What is polled is ready as long as records lie there, so nothing may.
        """
        while self.capture.ring.read() or self.epoll.poll(0.1):
            pass
        say(self.capture, pause)

    def by(self, action: Callable[[], object], timeout_s: float) -> bool:
        action()
        return self.epoll.poll(timeout_s) == [(self.fd, select.EPOLLIN)]


@pytest.fixture
def woken(capture: Capture) -> Iterator[Woken]:
    made = Woken(capture)
    yield made
    made.epoll.close()


#: No wake is waited for so long, in seconds.
QUIET_S = 0.3


def ended(process: subprocess.Popen[bytes]) -> Callable[[], object]:
    return process.communicate


def cat() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)


def test_the_end_of_a_process_wakes_a_reader_that_sleeps(
    capture: Capture, woken: Woken
) -> None:
    process = cat()
    woken.settle("READER_SLEEPS")
    assert woken.by(ended(process), DEADLINE_S)
    assert pause_of(capture) == "READER_PAUSES"  # it reads, then lets records wait


@pytest.mark.parametrize("pause", ["READER_LOOKS_SOON", "READER_PAUSES"])
def test_the_end_of_a_process_waits_for_the_next_look(
    capture: Capture, woken: Woken, pause: str
) -> None:
    process = cat()
    woken.settle(pause)
    process.communicate()
    wait_until(lambda: capture.ring.fill() > 0)
    if pause_of(capture) != pause or woken.epoll.poll(QUIET_S):
        # Another process of this machine may have run a new program meanwhile.
        assert pause_of(capture) == "READER_IS_ASKED"
    else:
        assert capture.ring.read()


@pytest.mark.parametrize(
    "pause", ["READER_LOOKS_SOON", "READER_PAUSES", "READER_SLEEPS"]
)
def test_a_new_program_file_wakes_the_reader_at_once(
    capture: Capture, woken: Woken, tmp_path: Path, pause: str
) -> None:
    program = tmp_path / "program"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    woken.settle(pause)
    assert woken.by(lambda: subprocess.run([program], check=True), DEADLINE_S)
    assert pause_of(capture) == "READER_IS_ASKED"  # which it says: looks follow soon


#: Runs each line that it is given: no new program file is needed for it.
ACTOR = "import sys\nfor line in sys.stdin: exec(line); print(flush=True)"


@pytest.fixture
def act() -> Iterator[Callable[[str], object]]:
    """What has another process do something, and waits until it is done."""
    with subprocess.Popen(
        [sys.executable, "-c", ACTOR],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def act(line: str) -> None:
            stdin.write(f"{line}\n")
            assert stdout.readline() == "\n"

        act("import os")
        yield act
        stdin.close()


@pytest.mark.parametrize("pause", ["READER_LOOKS_SOON", "READER_PAUSES"])
def test_a_file_whose_birth_must_be_looked_up_is_in_haste(
    capture: Capture,
    woken: Woken,
    act: Callable[[str], object],
    tmp_path: Path,
    pause: str,
) -> None:
    number = capture.layouts.number["file_create"]
    capture.set_variable("wanted_records", 1 << number)
    capture.set_variable("truncation_as_create", 1)
    capture.want(FILE_HOOKS)
    file = tmp_path / "file"
    file.write_bytes(b"x")
    truncate = f"os.close(os.open({str(file)!r}, os.O_WRONLY | os.O_TRUNC))"
    woken.settle(pause)
    is_woken = woken.by(lambda: act(truncate), QUIET_S)
    assert pause_of(capture) == "READER_IS_ASKED"
    assert number in [record[0] for record in capture.ring.read()]
    if pause == "READER_PAUSES":
        assert is_woken


FORKS = "[os.fork() and os.wait() or os._exit(0) for _ in range(150)]"


def test_a_ring_that_goes_on_filling_wakes_the_reader_again_and_again(
    capture: Capture, woken: Woken, act: Callable[[str], object]
) -> None:
    """Where two processors fill it at once one time may be missed, but not two."""
    woken.settle("READER_LOOKS_SOON")
    with select.epoll() as edges:
        edges.register(woken.fd, select.EPOLLIN | select.EPOLLET)
        for _ in range(4):
            before = capture.ring.fill() * (1 << 20)
            act(FORKS)
            assert capture.ring.fill() * (1 << 20) - before > WAKE_BYTES
            if not edges.poll(1.0):
                act(FORKS)
                assert edges.poll(DEADLINE_S) == [(woken.fd, select.EPOLLIN)]


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
