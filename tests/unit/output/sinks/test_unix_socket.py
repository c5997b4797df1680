# SPDX-License-Identifier: MIT
"""The event socket: who gets which lines, what becomes of the others, and attacks."""

from __future__ import annotations

import array
import os
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sysmonlx.output.lines import Lines
from sysmonlx.output.sinks import readers as places
from sysmonlx.output.sinks.unix_socket import SocketSink

LIMIT_BYTES = 512 << 10

CLIENTS: list[Client] = []


class Client:
    """A program that connects, and reads only when asked."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        CLIENTS.append(self)
        self.socket.connect(str(path))
        self.data = b""

    def read(self) -> list[bytes]:
        """Return the whole lines that came so far."""
        while True:
            try:
                part = self.socket.recv(1 << 20, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            if not part:
                break
            self.data += part
        return self.data.split(b"\n")[:-1]

    def close(self) -> None:
        self.socket.close()


@pytest.fixture(autouse=True)
def all_clients_end() -> Iterator[None]:
    yield
    while CLIENTS:
        CLIENTS.pop().close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events"


@pytest.fixture
def sink(path: Path) -> Iterator[SocketSink]:
    sink = SocketSink(str(path), spool_limit_bytes=LIMIT_BYTES, retry_s=0)
    yield sink
    sink.close(0)


def write(sink: SocketSink, *lines: bytes) -> None:
    sink.write_framed(Lines.of(lines))


def numbered(start: int, end: int, width: int = 8) -> list[bytes]:
    return [b"%0*d" % (width, number) for number in range(start, end)]


def fates(sink: SocketSink) -> int:
    return sink.delivered + sink.spooled + sink.lost - sink.more_due


def test_is_for_root_alone(sink: SocketSink, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sink.trouble == f"{path}: nobody reads"


def test_lines_wait_for_the_first_reader(sink: SocketSink, path: Path) -> None:
    write(sink, *numbered(0, 100))
    assert (sink.spooled, sink.delivered) == (100, 0)
    client = Client(path)
    write(sink, *numbered(100, 101))
    assert client.read() == numbered(0, 101)
    assert (sink.spooled, sink.delivered, sink.lost) == (0, 101, 0)
    assert (sink.trouble, sink.readers["connected"]) == ("", 1)


def test_each_reader_has_every_line_from_its_coming_on(
    sink: SocketSink, path: Path
) -> None:
    first = Client(path)
    write(sink, b"a")
    second = Client(path)
    write(sink, b"b", b"c")
    assert first.read() == [b"a", b"b", b"c"]
    assert second.read() == [b"b", b"c"]
    assert (sink.delivered, sink.more_due) == (5, 2)


def test_what_the_last_reader_did_not_take_waits_for_the_next(
    sink: SocketSink, path: Path
) -> None:
    first = Client(path)
    lines = numbered(0, 3000, 150)
    write(sink, *lines)
    assert sink.spooled > 500
    taken = len(first.read())
    first.close()
    sink.attend()
    assert sink.lost == 0
    second = Client(path)
    got: list[bytes] = []
    for _ in range(50):
        sink.flush()
        got = second.read()
    # What the kernel had for the first one, it had; the line within which it ended
    # comes again.
    assert got == lines[-len(got) :]
    assert taken + len(got) >= len(lines)
    assert fates(sink) == 3000


def test_slow_reader_is_dropped_and_counted_and_others_have_all(
    sink: SocketSink, path: Path
) -> None:
    slow, quick = Client(path), Client(path)
    got: list[bytes] = []
    line = b"x" * 10_000
    for number in range(150):
        write(sink, b"%d " % number + line)
        got = quick.read()
    assert [each.split()[0] for each in got] == [b"%d" % n for n in range(150)]
    assert sink.readers == {"connected": 1, "dropped": 1, "refused": 0}
    assert sink.losses["reader too slow"] > LIMIT_BYTES // 10_010
    assert fates(sink) == 150
    assert len(slow.read()) + sink.losses["reader too slow"] <= 150


def test_only_reader_that_never_reads_costs_no_line_within_the_spool(
    sink: SocketSink, path: Path
) -> None:
    idle = Client(path)
    lines = [b"%d " % number + b"x" * 10_000 for number in range(100)]
    for each in lines:
        write(sink, each)
    assert sink.readers["dropped"] == 1
    had = idle.read()
    client = Client(path)
    got: list[bytes] = []
    for _ in range(20):
        sink.flush()
        got = client.read()
    kept = 100 - sink.lost
    assert {*had, *got} >= {*lines[:kept]}
    assert fates(sink) == 100


def test_what_a_dropped_reader_did_not_get_is_told_exactly(
    sink: SocketSink, path: Path
) -> None:
    slow, quick = Client(path), Client(path)
    written = 0
    while not sink.readers["dropped"]:
        write(sink, b"%d " % written + b"x" * 10_000)
        written += 1
        quick.read()
    (told,) = sink.news()
    taken = len(slow.read())
    assert told == (
        f"{path}: reader (pid {os.getpid()}, uid {os.geteuid()}) was too slow and is"
        f" disconnected: it took {taken} lines; of {written - taken} more"
        f" {written - taken} are lost"
    )
    assert sink.losses == {"reader too slow": written - taken}
    assert sink.news() == []


def test_what_waits_for_the_next_reader_is_not_called_lost(
    sink: SocketSink, path: Path
) -> None:
    idle, written = Client(path), 0
    while not sink.readers["dropped"]:
        write(sink, b"%d " % written + b"x" * 10_000)
        written += 1
    (told,) = sink.news()
    left = written - len(idle.read())
    text = f"of {left} more {sink.lost} are lost, {sink.spooled} wait for the next"
    assert text in told
    assert sink.lost + sink.spooled == left


def test_reader_that_comes_again_and_again_is_told_in_few_words(
    sink: SocketSink, path: Path
) -> None:
    for _ in range(60):
        write(sink, b"x" * 10_000)
    for _ in range(20):
        Client(path)
        for _ in range(30):
            write(sink, b"x" * 10_000)
    dropped, told = sink.readers["dropped"], sink.news()
    assert dropped > 10
    assert len(told) == 5
    assert told[-1] == f"{path}: {dropped - 4} more readers were too slow"


def test_memory_of_waiting_lines_is_bounded(sink: SocketSink, path: Path) -> None:
    for _ in range(6):
        Client(path)
        sink.attend()
    for _ in range(150):
        write(sink, b"x" * 10_000)
    assert sink.spooled_bytes <= LIMIT_BYTES
    assert sink.losses["spool full"] > 0


def test_ten_thousand_connections_cost_little(sink: SocketSink, path: Path) -> None:
    real = Client(path)
    sink.attend()
    ended = threading.Event()

    def connect() -> None:
        for _ in range(10_000):
            if ended.is_set():
                return
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.setblocking(False)
            client.connect_ex(str(path))
            client.close()

    thread = threading.Thread(target=connect)
    thread.start()
    before_s, number = time.thread_time(), 0
    while thread.is_alive():
        write(sink, b"%d" % number)
        real.read()
        number += 1
    ended.set()
    thread.join()
    used_s = time.thread_time() - before_s
    assert real.read() == [b"%d" % each for each in range(number)]
    assert used_s / number < 0.002
    sink.attend()
    assert sink.readers["connected"] <= 8
    real.close()


def test_user_has_few_places_and_root_its_own(path: Path) -> None:
    ends = [socket.socketpair() for _ in range(40)]
    made = iter([one for one, _ in ends])
    taken: list[places.Reader] = []
    for uid, count in ((1000, 5), (1001, 5), (1002, 5), (1003, 5), (1004, 5), (0, 10)):
        for _ in range(count):
            if places.has_place(uid, taken):
                taken.append(places.Reader(next(made), uid, 1))
    users = [each.uid for each in taken]
    assert (users.count(1000), users.count(1004), users.count(0)) == (2, 0, 8)
    for one, other in ends:
        one.close()
        other.close()


def test_reader_that_half_closes_reads_on(sink: SocketSink, path: Path) -> None:
    client = Client(path)
    sink.attend()
    client.socket.shutdown(socket.SHUT_WR)
    write(sink, b"a")
    write(sink, b"b")
    assert client.read() == [b"a", b"b"]


def test_reader_that_will_not_read_any_more_is_let_go(
    sink: SocketSink, path: Path
) -> None:
    client = Client(path)
    sink.attend()
    client.socket.shutdown(socket.SHUT_RD)
    write(sink, b"a")
    assert (sink.readers["connected"], sink.spooled, sink.lost) == (0, 1, 0)


def test_reader_that_sends_is_not_read(sink: SocketSink, path: Path) -> None:
    client = Client(path)
    fds = array.array("i", [0])
    client.socket.sendmsg(
        [b"GET / HTTP/1.1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)]
    )
    sink.attend()
    with pytest.raises(BrokenPipeError):
        client.socket.send(b"more")
    write(sink, b"a")
    assert client.read() == [b"a"]


def test_socket_left_behind_is_replaced(path: Path) -> None:
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(path))
    left.listen()
    left.close()
    sink = SocketSink(str(path))
    assert sink.trouble.endswith("nobody reads")
    Client(path).close()
    sink.close(0)
    assert not path.exists()


def test_socket_of_another_program_is_left_alone(path: Path) -> None:
    said, says = os.pipe()
    if (child := os.fork()) == 0:
        other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        other.bind(str(path))
        other.listen()
        os.write(says, b"it listens")
        time.sleep(60)
        os._exit(0)
    try:
        os.close(says)
        assert os.read(said, 100) == b"it listens"
        os.close(said)
        sink = SocketSink(str(path), retry_s=0)
        assert "another program listens there" in sink.trouble
        sink.write_framed(Lines.of([b"a"]))
        assert (sink.spooled, sink.lost) == (1, 0)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    client = None
    sink.attend()  # it is gone: the line that waited is for whoever connects
    client = Client(path)
    sink.attend()
    assert client.read() == [b"a"]
    sink.close(0)


@pytest.mark.parametrize("what", ["file", "link", "directory", "fifo"])
def test_anything_else_in_its_place_is_refused_and_stays(path: Path, what: str) -> None:
    target = path.with_name("target")
    target.write_text("theirs")
    if what == "file":
        path.write_text("theirs")
    elif what == "link":
        path.symlink_to(target)
    elif what == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    sink = SocketSink(str(path))
    assert "no socket has this name: remove it" in sink.trouble
    sink.close(0)
    assert path.is_symlink() or path.exists()
    assert target.read_text() == "theirs"


def test_name_that_somebody_removed_or_took_is_had_again(
    sink: SocketSink, path: Path
) -> None:
    client = Client(path)
    sink.attend()
    path.unlink()
    sink.attend()
    second = Client(path)
    write(sink, b"a")
    write(sink, b"b")
    assert client.read() == [b"a", b"b"]  # it stays
    assert second.read()[-1] == b"b"


def test_update_takes_the_path_over(path: Path) -> None:
    before = SocketSink(str(path))
    client = Client(path)
    before.attend()
    after = SocketSink(str(path), spool_limit_bytes=1 << 20)
    assert after.trouble.endswith("nobody reads")
    before.close(0)
    assert path.exists()
    assert client.read() == []
    again = Client(path)
    write(after, b"a")
    assert again.read() == [b"a"]
    after.close(0)


def test_update_that_fails_leaves_the_path_to_the_one_before(path: Path) -> None:
    before = SocketSink(str(path))
    SocketSink(str(path), spool_limit_bytes=1 << 20).close(0)
    assert not path.exists()
    before.attend()
    client = Client(path)
    write(before, b"a")
    assert client.read() == [b"a"]
    before.close(0)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A path below directories that everybody may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder, "events")


def test_group_may_connect_and_nobody_else(open_path: Path) -> None:
    path = open_path
    sink = SocketSink(str(path), group="4")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    for gid, may in ((4, True), (5, False)):
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(12345)
            try:
                Client(path)
                os._exit(0)
            except PermissionError:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert (os.waitstatus_to_exitcode(status) == 0) == may
    sink.close(0)


def test_group_needs_a_directory_that_is_roots_alone(path: Path) -> None:
    path.parent.chmod(0o775)
    sink = SocketSink(str(path), group="4")
    assert "its directory must be root's alone" in sink.trouble
    assert not path.exists()
    sink.close(0)


def test_group_that_is_not_known_opens_it_to_nobody(path: Path) -> None:
    sink = SocketSink(str(path), group="nosuchgroup")
    assert "no group nosuchgroup in /etc/group" in sink.trouble
    assert not path.exists()
    sink.close(0)
