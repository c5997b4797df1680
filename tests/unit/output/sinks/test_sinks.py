# SPDX-License-Identifier: MIT
from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.running import wait_until

from sysmonlx.host.file_calls import Worker
from sysmonlx.output.sinks.base import Sink
from sysmonlx.output.sinks.file import FileSink
from sysmonlx.output.sinks.stdout import StdoutSink
from sysmonlx.output.sinks.streams import Stream
from sysmonlx.output.sinks.syslog import SyslogSink
from sysmonlx.service.metrics import MetricsFile

WALL_S = 1767607205
#: More messages than any socket here takes unread: unix(7); systemd sets 512.
MANY = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 200


class LogDaemon:
    """A log daemon's end: a socket that is read only when asked."""

    def __init__(self, path: Path, kind: socket.SocketKind = socket.SOCK_DGRAM) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, kind)
        self.socket.bind(str(path))
        if kind == socket.SOCK_STREAM:
            self.socket.listen()

    def read(self) -> list[bytes]:
        """Return the messages that wait."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(1 << 20, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return messages

    def leave(self) -> None:
        self.socket.close()
        self.path.unlink()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def daemon(path: Path) -> Iterator[LogDaemon]:
    daemon = LogDaemon(path)
    yield daemon
    daemon.socket.close()


def numbered(start: int, end: int, width: int = 8) -> list[bytes]:
    return [b"%0*d" % (width, number) for number in range(start, end)]


def bodies(messages: list[bytes]) -> list[bytes]:
    return [message.partition(b"sysmon: ")[2] for message in messages]


def drained(sink: Sink, daemon: LogDaemon) -> list[bytes]:
    """Read until the sink has nothing left."""
    messages = daemon.read()
    while sink.wants_writable():
        sink.flush()
        messages += daemon.read()
    return bodies(messages)


def test_message_is_what_syslog_3_sends(path: Path, daemon: LogDaemon) -> None:
    sink = SyslogSink(str(path))
    sink.write([b"<Event/>"], WALL_S)
    stamp = time.strftime("%b %e %H:%M:%S", time.localtime(WALL_S)).encode()
    assert daemon.read() == [b"<14>" + stamp + b" sysmon: <Event/>"]
    assert (sink.delivered, sink.lost, sink.trouble) == (1, 0, "")
    sink.close(0)


def test_stalled_log_gets_everything_in_order_later(
    path: Path, daemon: LogDaemon
) -> None:
    sink = SyslogSink(str(path))
    for start in range(0, 3000, 30):
        sink.write(numbered(start, start + 30), WALL_S)
    assert sink.spooled_bytes > 0
    assert sink.wants_writable()
    assert drained(sink, daemon) == numbered(0, 3000)
    assert (sink.delivered, sink.lost, sink.spooled_bytes) == (3000, 0, 0)
    sink.close(0)


def test_above_the_limit_the_newest_are_lost_and_counted(
    path: Path, daemon: LogDaemon
) -> None:
    sink = SyslogSink(str(path), spool_limit_bytes=100 * 36)
    sink.write(numbered(0, MANY), WALL_S)
    assert sink.spooled_bytes == 100 * 36
    taken = MANY - sink.lost
    sink.write(numbered(MANY, MANY + 1), WALL_S)
    assert sink.losses == {"spool full": MANY + 1 - taken}
    assert drained(sink, daemon) == numbered(0, taken)
    sink.write(numbered(MANY + 1, MANY + 2), WALL_S)
    assert drained(sink, daemon) == numbered(MANY + 1, MANY + 2)
    assert sink.delivered + sink.lost == MANY + 2
    sink.close(0)


def test_log_that_comes_late_or_again_gets_everything(path: Path) -> None:
    sink = SyslogSink(str(path), retry_s=0)
    sink.write(numbered(0, 10), WALL_S)
    assert sink.fileno() is None
    assert "No such file" in sink.trouble
    first = LogDaemon(path)
    sink.flush()
    assert bodies(first.read()) == numbered(0, 10)
    assert sink.trouble == ""
    first.leave()
    sink.write(numbered(10, 20), WALL_S)
    second = LogDaemon(path)
    sink.write(numbered(20, 21), WALL_S)
    assert drained(sink, second) == numbered(10, 21)
    assert sink.lost == 0
    second.leave()
    sink.close(0)


def test_socket_left_behind_by_a_dead_log_is_survived(path: Path) -> None:
    first = LogDaemon(path)
    sink = SyslogSink(str(path), retry_s=0)
    first.socket.close()
    sink.write(numbered(0, 5), WALL_S)
    assert "refused" in sink.trouble
    path.unlink()
    second = LogDaemon(path)
    assert drained(sink, second) == []
    sink.flush()
    assert bodies(second.read()) == numbered(0, 5)
    second.leave()
    sink.close(0)


def test_absent_log_is_not_tried_at_every_write(path: Path) -> None:
    sink = SyslogSink(str(path), retry_s=60)
    late = LogDaemon(path)
    sink.write(numbered(0, 1), WALL_S)
    assert late.read() == []
    sink.reopen()
    assert bodies(late.read()) == numbered(0, 1)
    late.leave()
    sink.close(0)


def test_absent_log_is_tried_more_seldom_while_nothing_new_waits(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    tries: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    sink = SyslogSink(str(path), retry_s=1)

    def absent(path: str) -> socket.socket:
        tries.append(now[0])
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("sysmonlx.output.sinks.syslog.log_socket", absent)

    def tries_within(seconds: int) -> int:
        tries.clear()
        for _ in range(10 * seconds):
            now[0] += 0.1
            sink.flush()
        return len(tries)

    sink.write(numbered(0, 1), WALL_S)
    assert 4 <= tries_within(32) <= 8
    sink.write(numbered(1, 2), WALL_S)
    assert tries_within(2) >= 1
    sink.close(0)


def test_longest_line_fits_and_an_impossible_one_is_counted(
    path: Path, daemon: LogDaemon
) -> None:
    sink = SyslogSink(str(path))
    sink.write([b"x" * 65535, b"y" * (64 << 20), b"z"], WALL_S)
    assert drained(sink, daemon) == [b"x" * 65535, b"z"]
    assert sink.losses == {"longer than the log socket takes": 1}
    sink.close(0)


def test_stream_socket_is_used_where_the_log_has_one(path: Path) -> None:
    daemon = LogDaemon(path, socket.SOCK_STREAM)
    sink = SyslogSink(str(path), retry_s=0)
    connection, _ = daemon.socket.accept()
    lines = numbered(0, 500, width=5000)
    sink.write(lines, WALL_S)
    assert sink.spooled_bytes > 0
    received = b""
    while sink.wants_writable():
        received += connection.recv(1 << 20)
        sink.flush()
    while not received.endswith(lines[-1] + b"\0"):
        received += connection.recv(1 << 20)
    assert bodies(received.split(b"\0")[:-1]) == lines
    assert (sink.delivered, sink.lost) == (500, 0)
    connection.close()
    daemon.leave()
    sink.close(0)


def test_line_cut_by_the_end_of_a_stream_is_sent_again_whole(path: Path) -> None:
    daemon = LogDaemon(path, socket.SOCK_STREAM)
    sink = SyslogSink(str(path), spool_limit_bytes=16 << 20, retry_s=0)
    connection, _ = daemon.socket.accept()
    connection.settimeout(60)
    sink.write(numbered(0, 2, width=4 << 20), WALL_S)
    assert sink.delivered == 0
    connection.recv(10)
    connection.close()
    sink.flush()
    connection, _ = daemon.socket.accept()
    connection.settimeout(60)
    received = b""
    while received.count(b"\0") < 2:
        sink.flush()
        received += connection.recv(1 << 20)
    assert bodies(received.split(b"\0")[:-1]) == numbered(0, 2, width=4 << 20)
    connection.close()
    daemon.leave()
    sink.close(0)


def test_close_waits_for_a_reader_then_counts_what_is_left(
    path: Path, daemon: LogDaemon
) -> None:
    sink = SyslogSink(str(path))
    sink.write(numbered(0, MANY), WALL_S)
    start_s = time.monotonic()
    sink.close(0.1)
    assert 0.1 <= time.monotonic() - start_s < 10  # not until somebody reads
    assert sink.losses == {"not written at stop": MANY - sink.delivered}
    assert len(daemon.read()) == sink.delivered


def test_file_is_appended_to_and_private(path: Path) -> None:
    sink = FileSink(str(path))
    sink.write([b"one", b"two"], WALL_S)
    sink.close(0)
    sink = FileSink(str(path))
    sink.write([b"three"], WALL_S)
    sink.close(0)
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sink.delivered == 1


def test_rotated_file_is_followed_on_reopen(path: Path) -> None:
    sink = FileSink(str(path))
    sink.write([b"old"], WALL_S)
    path.rename(path.with_suffix(".1"))
    sink.write([b"still old"], WALL_S)
    sink.reopen()
    sink.write([b"new"], WALL_S)
    assert path.with_suffix(".1").read_bytes() == b"old\nstill old\n"
    assert path.read_bytes() == b"new\n"
    sink.close(0)


def test_line_that_a_crash_cut_does_not_swallow_the_next(path: Path) -> None:
    path.write_bytes(b"<Event><Sys")
    sink = FileSink(str(path))
    sink.write([b"whole"], WALL_S)
    assert path.read_bytes() == b"<Event><Sys\nwhole\n"
    sink.close(0)


def test_directory_that_appears_later_gets_everything(tmp_path: Path) -> None:
    path = tmp_path / "later" / "log"
    sink = FileSink(str(path), retry_s=0)
    sink.write([b"one"], WALL_S)
    assert "No such file" in sink.trouble
    assert not sink.wants_writable()
    path.parent.mkdir()
    sink.write([b"two"], WALL_S)
    assert path.read_bytes() == b"one\ntwo\n"
    assert sink.trouble == ""
    sink.close(0)


@pytest.fixture
def file_size_limit() -> Iterator[int]:
    """Let files grow to so many bytes only, as on a disk that is full."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    yield 100
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_file_goes_on_within_the_line_once_there_is_room(
    path: Path, file_size_limit: int
) -> None:
    sink = FileSink(str(path), spool_limit_bytes=200, retry_s=0)
    lines = numbered(0, 40, width=15)
    sink.write(lines, WALL_S)
    assert path.stat().st_size == file_size_limit
    assert "File too large" in sink.trouble
    assert sink.spooled_bytes <= 200
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    sink.flush()
    kept = 40 - sink.lost
    assert sink.losses == {"spool full": 40 - kept}
    assert path.read_bytes() == b"".join(line + b"\n" for line in lines[:kept])
    assert kept == 100 // 16 + 200 // 15
    sink.close(0)


def test_full_device_is_no_exception() -> None:
    sink = FileSink("/dev/full", retry_s=0)
    sink.write([b"one"], WALL_S)
    assert "No space left" in sink.trouble
    sink.close(0)
    assert sink.losses == {"not written at stop": 1}


def test_fifo_without_reader_does_not_block(path: Path) -> None:
    os.mkfifo(path)
    sink = FileSink(str(path), retry_s=0)
    sink.write([b"one"], WALL_S)
    assert sink.spooled_bytes == 3
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink.write([b"two"], WALL_S)
    assert os.read(reader, 100) == b"one\ntwo\n"
    assert sink.fileno() is not None
    os.close(reader)
    sink.close(0)


def test_one_thread_tries_again_and_leaves_no_file_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.mkdir()
    open_fds: list[int] = []
    started: Counter[str] = Counter()
    init = Worker.__init__

    def count(worker: Worker, keeps: int = -1) -> None:
        started["threads"] += 1
        init(worker, keeps)

    def fail(fd: int) -> Stream:
        open_fds.append(len(os.listdir("/proc/thread-self/fd")))
        raise OSError(errno.EIO, "on purpose")

    monkeypatch.setattr(Worker, "__init__", count)
    sink = FileSink(str(path), retry_s=0)
    sink.write([b"a"], WALL_S)
    for _ in range(9):
        sink.flush()
    assert "Is a directory" in sink.trouble
    path.rmdir()
    monkeypatch.setattr("sysmonlx.output.sinks.file.examined", fail)
    for _ in range(9):
        sink.flush()
    assert "on purpose" in sink.trouble
    assert len(open_fds) > 5
    assert len({*open_fds}) == 1
    monkeypatch.undo()
    sink.flush()
    wait_until(lambda: not sink.spooled)
    assert path.read_bytes() == b"a\n"
    assert started == {"threads": 1}
    sink.close(1)


def test_full_pipe_does_not_block_and_loses_nothing() -> None:
    reader, writer = os.pipe()
    sink = StdoutSink(writer)
    lines = numbered(0, 40, width=5000)
    sink.write(lines, WALL_S)
    assert sink.spooled_bytes > 0
    received = b""
    while sink.wants_writable():
        received += os.read(reader, 1 << 16)
        sink.flush()
    sink.close(0)
    os.close(writer)
    while data := os.read(reader, 1 << 16):
        received += data
    assert received == b"".join(line + b"\n" for line in lines)
    assert sink.lost == 0
    os.close(reader)


def test_closed_pipe_counts_everything_as_lost() -> None:
    reader, writer = os.pipe()
    sink = StdoutSink(writer)
    os.close(reader)
    sink.write([b"one", b"two"], WALL_S)
    sink.write([b"three"], WALL_S)
    assert sink.losses == {"output closed": 3}
    assert sink.fileno() is None
    assert "Broken pipe" in sink.trouble
    sink.close(0)
    os.close(writer)


def test_output_to_a_file_is_not_polled(path: Path) -> None:
    with path.open("wb") as file:
        sink = StdoutSink(file.fileno())
        sink.write(numbered(0, 3), WALL_S)
        assert sink.fileno() is None
        sink.close(0)
    assert path.read_bytes().splitlines() == numbered(0, 3)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let no thread be started, as with pids.max reached."""

    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    return monkeypatch


def test_file_without_a_thread_to_open_it_is_tried_again(
    path: Path, no_threads: pytest.MonkeyPatch
) -> None:
    sink = FileSink(str(path), retry_s=0)
    sink.write([b"one"], WALL_S)
    assert sink.trouble == f"{path}: no thread can be started"
    no_threads.undo()
    sink.flush()
    assert (path.read_bytes(), sink.trouble) == (b"one\n", "")
    sink.close(0)


def test_metrics_without_a_thread_are_tried_again(
    path: Path, no_threads: pytest.MonkeyPatch
) -> None:
    metrics = MetricsFile()
    metrics.write(str(path), b"one")
    assert metrics.trouble == f"{path}: no thread can be started"
    no_threads.undo()
    deadline = time.monotonic() + 60
    while metrics.trouble and time.monotonic() < deadline:
        metrics.write(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert metrics.trouble == ""
    metrics.end(60)


def test_metrics_go_with_who_writes_them(path: Path) -> None:
    metrics = MetricsFile()
    metrics.write(str(path), b"one")
    wait_until_is_file(path)
    other = path.with_name("other")
    metrics.write(str(other), b"two")
    wait_until_is_file(other)
    assert not path.exists()
    metrics.end(60)
    assert not other.exists()
    MetricsFile().end(60)


def wait_until_is_file(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: changes owners")
def test_planted_link_is_refused_at_once_and_after_rotation(tmp_path: Path) -> None:
    victim, log = tmp_path / "victim", tmp_path / "log"
    victim.write_bytes(b"precious")
    log.symlink_to(victim)
    sink = FileSink(str(log), retry_s=0)
    sink.write([b"one"], WALL_S)
    assert sink.trouble == f"{log}: the file is a symbolic link"
    log.unlink()
    sink.flush()
    assert (log.read_bytes(), sink.trouble) == (b"one\n", "")
    os.rename(log, tmp_path / "log.1")
    log.write_bytes(b"")
    os.chown(log, 104, 4)  # what "create 640 syslog adm" of logrotate does
    sink.reopen()
    sink.write([b"two"], WALL_S)
    assert sink.trouble == f"{log}: the file belongs to the user 104, not to root"
    sink.close(0)
    assert sink.losses == {"not written at stop": 1}
    assert victim.read_bytes() == b"precious"


def test_trouble_ends_with_its_cause_though_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "later" / "log"
    sink = FileSink(str(path), retry_s=0)
    path.parent.mkdir()
    sink.flush()
    assert sink.trouble == ""
    sink.close(0)
