# SPDX-License-Identifier: MIT
"""Destinations of events that others prepared, or that do not answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from support.cpu import slept_s
from support.fuse import NOBODY, Fuse, mounted
from support.installed import Installation
from support.running import EVERYTHING, REPOSITORY, Daemon, Event, wait_until

from sysmonlx.host.lock import PidFile, daemon_pid
from sysmonlx.output.sinks.file import FileSink
from sysmonlx.output.sinks.stdout import StdoutSink
from sysmonlx.service.metrics import MetricsFile

pytestmark = pytest.mark.kernel

#: No call of a sink may wait for so long, in seconds: a tick of the daemon has 0.05.
#: A single call may also wait for another thread of this process, which holds the
#: interpreter and which a busy machine keeps from running.
TICK_S, QUICK_S = 0.05, 0.3


@pytest.fixture
def fs(tmp_path: Path, require: Callable[[str, bool, str], None]) -> Iterator[Fuse]:
    require("fuse", os.path.exists("/dev/fuse"), "there is no /dev/fuse")
    with mounted(tmp_path / "hungfs") as made:
        yield made


def numbered(start: int, end: int) -> list[bytes]:
    return [b"%08d" % number for number in range(start, end)]


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def time_of(act: Callable[[], object]) -> float:
    """Return the time in seconds for which this thread waited for somebody else."""
    return slept_s(act)


def drained(sink: FileSink | StdoutSink) -> bool:
    sink.flush()
    return not sink.spooled_bytes


def in_trouble(sink: FileSink | StdoutSink) -> bool:
    sink.flush()
    return sink.trouble.endswith(": does not answer")


# --- a file system that does not answer


def threads() -> set[str]:
    """Return the threads of this process; other tests may have left some."""
    return set(os.listdir("/proc/self/task"))


def test_write_that_hangs_stops_nobody_and_nothing_is_lost(fs: Fuse) -> None:
    sink = FileSink(str(fs.path / "log"))
    sink.write(numbered(0, 10), 0)
    wait_until(lambda: drained(sink))
    fs.hang("write")
    *waits_s, _, _, slowest_s = sorted(
        time_of(partial(sink.write, numbered(at, at + 10), 0))
        for at in range(10, 3000, 10)
    )
    assert max(waits_s) < TICK_S
    assert slowest_s < QUICK_S
    wait_until(lambda: in_trouble(sink))
    fs.answer()
    wait_until(lambda: drained(sink))
    assert (sink.trouble, sink.lost, sink.delivered) == ("", 0, 3000)
    sink.close(1)
    assert lines(fs.path / "log") == numbered(0, 3000)


def test_above_the_limit_lines_are_lost_and_counted_never_those_on_the_way(
    fs: Fuse,
) -> None:
    sink = FileSink(str(fs.path / "log"), spool_limit_bytes=80)
    fs.hang("write")
    for at in range(0, 100, 5):
        sink.write(numbered(at, at + 5), 0)
    assert sink.spooled_bytes <= 80
    assert sink.losses == {"spool full": 90}
    fs.answer()
    wait_until(lambda: drained(sink))
    sink.write(numbered(100, 101), 0)
    wait_until(lambda: drained(sink))
    assert lines(fs.path / "log") == [*numbered(0, 10), *numbered(100, 101)]
    assert sink.delivered + sink.lost == 101
    sink.close(1)


def test_limit_of_0_still_writes_one_batch_after_the_other(fs: Fuse) -> None:
    sink = FileSink(str(fs.path / "log"), spool_limit_bytes=0)
    for at in range(0, 20, 5):
        sink.write(numbered(at, at + 5), 0)
        wait_until(lambda: drained(sink))
    assert lines(fs.path / "log") == numbered(0, 20)
    sink.close(1)


@pytest.mark.parametrize("operation", ["lookup", "getattr", "create", "statfs"])
def test_opening_that_hangs_is_told_and_goes_on_later(fs: Fuse, operation: str) -> None:
    fs.hang(operation)
    made: list[FileSink] = []
    assert time_of(lambda: made.append(FileSink(str(fs.path / "log"), retry_s=0))) < 1
    (sink,) = made
    assert sink.trouble == f"{fs.path}/log: does not answer"
    assert time_of(lambda: sink.write(numbered(0, 5), 0)) < QUICK_S
    fs.answer()
    wait_until(lambda: drained(sink))
    assert sink.trouble == ""
    sink.close(1)
    assert lines(fs.path / "log") == numbered(0, 5)


def test_end_is_bounded_and_what_hangs_closes_the_file_when_it_is_done(
    fs: Fuse,
) -> None:
    before = threads()
    sink = FileSink(str(fs.path / "log"))
    fs.hang("write")
    sink.write(numbered(0, 5), 0)
    assert time_of(lambda: sink.close(0.2)) < 0.2 + QUICK_S
    assert sink.losses == {"not written at stop": 5}
    fs.answer()
    wait_until(lambda: threads() <= before)
    assert lines(fs.path / "log") == numbered(0, 5)


@pytest.mark.parametrize("operation", ["write", "lookup", "flush"])
def test_daemon_that_was_killed_while_a_file_hangs_holds_no_lock(
    fs: Fuse, tmp_path: Path, operation: str
) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        hang_with_a_lock(fs, tmp_path / "pid", operation, writer)
    assert os.read(reader, 1) == b"x"
    assert daemon_pid(tmp_path / "pid") == child
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: daemon_pid(tmp_path / "pid") == 0)
    assert os.waitpid(child, os.WNOHANG) == (0, 0)  # its thread hangs still
    fs.answer()
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)


def hang_with_a_lock(fs: Fuse, lock: Path, operation: str, writer: int) -> None:
    try:
        held = PidFile(lock)
        sink = FileSink(str(fs.path / "log"))
        fs.hang(operation)
        sink.write(numbered(0, 5), 0)
        if operation != "write":
            wait_until(lambda: drained(sink))
            sink.reopen()
        wait_until(lambda: fs.holds(operation))
        os.write(writer, b"x")
        signal.pause()
        held.close()
    finally:
        os._exit(1)


@pytest.fixture
def on_hung_file(fs: Fuse, place: Installation) -> Installation:
    """An installation that writes to a file which hangs."""
    log = fs.path / "log"
    place.config.write_text(place.config.read_text().replace(f"{place.log}", f"{log}"))
    assert place.call("-i", os.fspath(place.config)).returncode == 0
    fs.hang("write")
    subprocess.run(["/bin/true"], check=True)
    wait_until(lambda: fs.holds("write") and thread_hangs_in(place.pid))
    return place


def thread_hangs_in(pid: int) -> bool:
    for each in Path(f"/proc/{pid}/task").glob("*/wchan"):
        with suppress(OSError):  # a thread may end meanwhile
            if "request_wait" in each.read_text():
                return True
    return False


def test_file_that_hangs_delays_no_removal(
    fs: Fuse, on_hung_file: Installation
) -> None:
    pid = on_hung_file.pid
    removed = on_hung_file.call("-u")
    assert (removed.returncode, removed.stderr) == (0, "")
    assert not on_hung_file.keeper
    assert thread_hangs_in(pid)  # that alone is left
    fs.answer()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_daemon_whose_thread_hangs_is_replaced(
    fs: Fuse, on_hung_file: Installation, number: signal.Signals
) -> None:
    place, pid = on_hung_file, on_hung_file.pid
    if number == signal.SIGKILL:
        os.kill(pid, number)
        wait_until(lambda: place.pid != pid)
    place.write_config(EVERYTHING)
    place.install()
    assert place.pid != pid
    assert thread_hangs_in(pid)
    assert place.run(["/bin/true", "again"])[1]
    fs.answer()


def test_closing_that_hangs_stops_nobody(fs: Fuse) -> None:
    sink = FileSink(str(fs.path / "log"))
    sink.write(numbered(0, 5), 0)
    wait_until(lambda: drained(sink))
    fs.hang("flush")
    assert time_of(sink.reopen) < 1  # which opens, reads the end, and closes that
    assert time_of(lambda: sink.write(numbered(5, 6), 0)) < QUICK_S
    fs.answer()
    wait_until(lambda: drained(sink))
    fs.hang("flush")
    assert time_of(lambda: sink.close(0.2)) < 0.2 + QUICK_S
    fs.answer()
    assert lines(fs.path / "log") == numbered(0, 6)


def test_reopening_waits_for_the_write_that_hangs(fs: Fuse) -> None:
    log, old = fs.path / "log", fs.path / "old"
    sink = FileSink(str(log), retry_s=0)
    log.rename(old)  # not later: it would wait for the write
    fs.hang("write")
    sink.write(numbered(0, 5), 0)
    assert time_of(sink.reopen) < QUICK_S
    sink.write(numbered(5, 10), 0)
    fs.answer()
    wait_until(lambda: drained(sink))
    sink.close(1)
    assert lines(old) == numbered(0, 5)
    assert lines(log) == numbered(5, 10)


def test_standard_output_to_a_file_that_hangs_stops_nobody(fs: Fuse) -> None:
    fd = os.open(fs.path / "out", os.O_WRONLY | os.O_CREAT, 0o600)
    sink = StdoutSink(fd)
    fs.hang("write")
    assert time_of(lambda: sink.write(numbered(0, 5), 0)) < QUICK_S
    wait_until(lambda: in_trouble(sink))
    fs.answer()
    wait_until(lambda: drained(sink))
    sink.close(1)
    os.close(fd)
    assert lines(fs.path / "out") == numbered(0, 5)


def test_metrics_that_hang_are_told_and_go_on(fs: Fuse) -> None:
    before = threads()
    path = str(fs.path / "sysmonlx.prom")
    metrics = MetricsFile()

    def says(text: str) -> bool:
        assert time_of(lambda: metrics.write(path, b"new\n")) < QUICK_S
        return metrics.trouble == text

    fs.hang("write")
    wait_until(lambda: says(f"{path}: does not answer"))
    fs.answer()
    wait_until(lambda: says(""))
    assert Path(path).read_bytes() == b"new\n"
    metrics.end()
    wait_until(lambda: threads() <= before)
    assert not Path(path).exists()


def test_interrupt_ends_the_wait_for_a_configuration_that_hangs(fs: Fuse) -> None:
    (fs.path / "a.xml").write_bytes(b"<Sysmon/>")
    fs.hang("read")
    command = [sys.executable, "-P", "-m", "sysmonlx", "-test", f"{fs.path}/a.xml"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": os.fspath(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_until(lambda: bool(children.read_text()))
    child = children.read_text().strip()
    wait_until(lambda: "request_wait" in Path(f"/proc/{child}/wchan").read_text())
    assert time_of(lambda: interrupt(process)) < 5
    assert process.returncode == 130


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """Do what Ctrl-C on the terminal does."""
    os.killpg(process.pid, signal.SIGINT)
    process.wait(20)


# --- a daemon whose destinations are others' work


@pytest.fixture
def planted(tmp_path: Path, fs: Fuse) -> Iterator[tuple[Daemon, Path]]:
    """A daemon with one good file, one in a directory of nobody, and one that hangs."""
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (theirs / "log").symlink_to(victim)
    (theirs / "metrics").symlink_to(victim)
    for each in (theirs, theirs / "log", theirs / "metrics"):
        os.chown(each, NOBODY, NOBODY, follow_symlinks=False)
    settings = (
        f'<Sink kind="file">{theirs}/log</Sink><Sink kind="file">{fs.path}/log</Sink>'
        f"<MetricsFile>{theirs}/metrics</MetricsFile>"
    )
    daemon = Daemon(root, EVERYTHING, settings, "")
    daemon.start()
    try:
        yield daemon, victim
    finally:
        fs.answer()
        daemon.stop()


def failures(events: list[Event]) -> list[Event]:
    return [e for e in events if e["EventID"] == "255" and e["ID"] == "MetricsFile"]


def test_daemon_follows_no_one_and_waits_for_no_one(
    planted: tuple[Daemon, Path], fs: Fuse
) -> None:
    daemon, victim = planted
    theirs = victim.with_name("theirs")
    reason = f"the directory {theirs} belongs to the user 65534, not to root"
    wait_until(lambda: len(daemon.stats()["sinks"]["trouble"]) == 2)
    assert daemon.stats()["sinks"]["trouble"] == [
        f"{theirs}/log: {reason}",
        f"{theirs}/metrics: {reason}",
    ]
    fs.hang("write", "lookup", "getattr")
    for _ in range(200):
        subprocess.run(["/bin/true"], check=True)
    wait_until(lambda: f"{fs.path}/log: does not answer" in str(daemon.stats()))
    assert time_of(daemon.stats) < 1
    daemon.settle()
    assert [each["Description"] for each in failures(daemon.events())] == [
        f"{theirs}/metrics: {reason}"
    ]
    fs.answer()
    wait_until(lambda: len(daemon.stats()["sinks"]["trouble"]) == 2)
    fs.hang("write")
    subprocess.run(["/bin/true"], check=True)
    daemon.settle()
    started = time.monotonic()
    daemon.process.terminate()
    daemon.wait_for(lambda event: event.get("State") == "Stopped")
    wait_until(lambda: not daemon.paths.pid_file.exists())
    assert time.monotonic() - started < 3
    assert victim.read_bytes() == b"precious"
    assert sorted(os.listdir(theirs)) == ["log", "metrics"]
