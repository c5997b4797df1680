# SPDX-License-Identifier: MIT
"""A file of its own rotation: whole lines, none lost, a bounded number of files."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import resource
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sysmonlx.output.lines import Lines
from sysmonlx.output.sinks import set_aside
from sysmonlx.output.sinks.file import FileSink
from sysmonlx.output.sinks.rotating_file import RotatingFileSink
from sysmonlx.policy import Rotation

DAY_S = 86_400
NOW_S = 20_000 * DAY_S + 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.json"


@pytest.fixture
def made() -> Iterator[Callable[..., RotatingFileSink]]:
    sinks: list[RotatingFileSink] = []

    def make(
        path: Path, size: int, every_s: int, keep: int, packs: int = 0, group: str = ""
    ) -> RotatingFileSink:
        rotation = Rotation(size, every_s, keep, bool(packs))
        sinks.append(RotatingFileSink(str(path), rotation, group, retry_s=0))
        return sinks[-1]

    yield make
    for sink in sinks:
        sink.close(0)


def write(sink: FileSink, wall_s: int, *lines: bytes) -> None:
    before = sink.before(wall_s).encode()
    sink.write_framed(Lines.of([before + each for each in lines]))


def numbered(start: int, end: int, width: int = 100) -> list[bytes]:
    return [b"%0*d" % (width, number) for number in range(start, end)]


def others(path: Path) -> list[Path]:
    """Return the files that were set aside, the oldest first."""
    found: list[tuple[int, str]] = []
    for each in path.parent.iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just been compressed
            if each != path:
                found.append((each.stat().st_mtime_ns, each.name))
    return [path.with_name(name) for _, name in sorted(found)]


def in_order(path: Path) -> list[Path]:
    """Return the files that were set aside, in the order that their names tell."""
    return sorted(others(path), key=lambda each: moment_and_number(each.name))


def moment_and_number(name: str) -> tuple[str, int]:
    """Return the second and the number; of one second there may be several."""
    moment, _, rest = name.removesuffix(".gz").partition("Z")
    return moment, int(rest.removeprefix(".") or "0")


def whole(path: Path) -> list[bytes]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else None
    data = path.read_bytes() if data is None else data
    assert data.endswith(b"\n") or not data
    return data.split(b"\n")[:-1]


def settled(sink: RotatingFileSink, is_settled: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not is_settled():
        assert time.monotonic() < deadline_s
        sink.flush()
        sink.attend()
        time.sleep(0.002)


def test_no_line_is_lost_or_in_two_files(
    path: Path, made: Callable[..., RotatingFileSink]
) -> None:
    sink = made(path, 10_000, 0, 999)
    lines = numbered(0, 3000, 37)
    for at in range(0, 3000, 60):
        write(sink, NOW_S + at, *lines[at : at + 60])
    settled(sink, lambda: not sink.spooled)
    files = [*in_order(path), path]
    assert [line for each in files for line in whole(each)] == lines
    assert len(files) > 10
    assert max(each.stat().st_size for each in files) <= 10_000 + 38
    assert re.fullmatch(r"events\.json-\d{8}T\d{6}Z(\.\d+)?", files[0].name)
    assert (sink.delivered, sink.lost, sink.trouble) == (3000, 0, "")


def test_one_batch_may_fill_several_files(
    path: Path, made: Callable[..., RotatingFileSink]
) -> None:
    sink = made(path, 1000, 0, 50)
    lines = numbered(0, 200)
    write(sink, NOW_S, *lines)
    settled(sink, lambda: not sink.spooled)
    files = [*in_order(path), path]
    assert [line for each in files for line in whole(each)] == lines
    assert len(files) >= 15


def test_a_period_that_is_over_begins_a_new_file(
    path: Path, made: Callable[..., RotatingFileSink]
) -> None:
    sink = made(path, 0, DAY_S, 5)
    write(sink, NOW_S, b"today")
    write(sink, NOW_S + DAY_S - 101, b"still today")
    write(sink, NOW_S + DAY_S, b"tomorrow")
    settled(sink, lambda: not sink.spooled)
    (aside,) = others(path)
    assert whole(aside) == [b"today", b"still today"]
    assert whole(path) == [b"tomorrow"]


def test_a_period_that_ended_while_nobody_ran_is_seen(
    path: Path, made: Callable[..., RotatingFileSink]
) -> None:
    path.write_text("old\n")
    path.chmod(0o600)
    os.utime(path, (NOW_S, NOW_S))
    sink = made(path, 0, DAY_S, 5)
    sink.attend()  # without a line, too
    settled(sink, lambda: path.read_bytes() == b"")
    assert [whole(each) for each in others(path)] == [[b"old"]]


def test_a_clock_that_goes_back_sets_nothing_aside(
    path: Path, made: Callable[..., RotatingFileSink]
) -> None:
    sink = made(path, 0, 60, 5)
    write(sink, NOW_S + 10 * DAY_S, b"a")
    write(sink, NOW_S, b"b")
    assert whole(path) == [b"a", b"b"]


def test_oldest_are_removed_and_nothing_else(
    path: Path, made: Callable[..., RotatingFileSink]
) -> None:
    foreign = [
        path.with_name(name)
        for name in (
            *("events.json.1", "events.json-20200101", "events.json-x.gz"),
            *("events.jsonl-20200101T000000Z", "xevents.json-20200101T000000Z"),
        )
    ]
    for each in foreign:
        each.write_text("theirs")
    link = path.with_name("events.json-20190101T000000Z")
    link.symlink_to(foreign[0])
    sink = made(path, 1000, 0, 3)
    for at in range(20):
        write(sink, NOW_S + at, *numbered(at, at + 11))
    pattern = re.compile(r"events\.json-\d{8}T\d{6}Z(\.\d+)?")

    def kept() -> list[str]:
        names = [each.name for each in others(path) if not each.is_symlink()]
        return [name for name in names if pattern.fullmatch(name)]

    settled(sink, lambda: len(kept()) == 3)
    assert all(each.read_text() == "theirs" for each in foreign)
    assert link.is_symlink()


@pytest.mark.parametrize("step_s", [0, -DAY_S])
def test_the_newest_stay_whatever_the_clock_says(path: Path, step_s: int) -> None:
    """In one second many are set aside and removed, and a clock may be put back."""
    rotation = Rotation(1000, 0, 3, False)
    for number in range(112):
        path.write_bytes(b"%d\n" % number)
        path.chmod(0o600)
        set_aside.set_aside(str(path), NOW_S + number * step_s)
        if number % 3 != 1:
            set_aside.tidy(str(path), rotation)
    assert [whole(each) for each in in_order(path)] == [[b"109"], [b"110"], [b"111"]]


def test_compressed_aside_with_all_lines_rights_and_time(
    path: Path, made: Callable[..., RotatingFileSink]
) -> None:
    sink = made(path, 1000, 0, 9, 1, group="4")
    for at in range(3):
        write(sink, NOW_S + at, *numbered(10 * at, 10 * at + 10))
    settled(
        sink,
        lambda: [each.suffix for each in others(path)] == [".gz"] * 3,
    )
    packed = in_order(path)
    lines = [line for each in (*packed, path) for line in whole(each)]
    assert lines == numbered(0, 30)
    for each in packed:
        assert stat.S_IMODE(each.stat().st_mode) == 0o640
        assert b"\x08\0\4\0\4\0\0\0" in os.getxattr(each, "system.posix_acl_access")


def test_what_was_interrupted_is_done_at_the_next_start(
    path: Path, made: Callable[..., RotatingFileSink]
) -> None:
    stamp = path.with_name("events.json-20200101T00000")
    for number in range(3):
        Path(f"{stamp}{number}Z").write_bytes(b"%d\n" % number)
        Path(f"{stamp}{number}Z").chmod(0o600)
    Path(f"{stamp}0Z.gz.part").write_bytes(b"half")
    Path(f"{stamp}1Z.gz").write_bytes(gzip.compress(b"1\n"))
    sink = made(path, 1000, 0, 9, 1)
    settled(
        sink,
        lambda: (
            {each.name for each in others(path)}
            == {f"{stamp.name}{number}Z.gz" for number in range(3)}
        ),
    )
    assert [whole(each) for each in in_order(path)] == [[b"0"], [b"1"], [b"2"]]


def test_file_that_cannot_be_set_aside_is_written_to_and_told(
    path: Path,
    made: Callable[..., RotatingFileSink],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(set_aside, "set_aside", fail)
    sink = made(path, 1000, 0, 3)
    write(sink, NOW_S, *numbered(0, 50))
    settled(sink, lambda: not sink.spooled)
    assert whole(path) == numbered(0, 50)
    assert "cannot be set aside: Operation not permitted" in sink.trouble
    assert sink.lost == 0


def test_full_disk_is_told_and_the_file_goes_on_within_the_line(
    path: Path, made: Callable[..., RotatingFileSink]
) -> None:
    sink = made(path, 100_000, 0, 3)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (550, before[1]))
        write(sink, NOW_S, *numbered(0, 10))
        assert path.stat().st_size == 550
        assert "File too large" in sink.trouble
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    settled(sink, lambda: not sink.spooled)
    assert whole(path) == numbered(0, 10)
    assert (sink.lost, sink.trouble) == (0, "")


@pytest.mark.parametrize("rotates", [False, True])
def test_file_that_another_program_moved_is_opened_anew(
    path: Path, made: Callable[..., RotatingFileSink], rotates: bool
) -> None:
    sink: FileSink
    sink = made(path, 100_000, 0, 3) if rotates else FileSink(str(path), retry_s=0)
    write(sink, NOW_S, b"a")
    path.rename(path.with_name("moved"))
    write(sink, NOW_S, b"b")
    sink.attend()
    write(sink, NOW_S, b"c")
    assert path.with_name("moved").read_bytes() == b"a\nb\n"
    assert path.read_bytes() == b"c\n"
    path.unlink()
    sink.attend()
    write(sink, NOW_S, b"d")
    assert path.read_bytes() == b"d\n"
    sink.close(0)


def test_file_that_another_program_cut_has_its_size_again(
    path: Path, made: Callable[..., RotatingFileSink]
) -> None:
    sink = made(path, 1000, 0, 3)
    write(sink, NOW_S, *numbered(0, 9))
    os.truncate(path, 0)
    sink.attend()
    write(sink, NOW_S, *numbered(9, 18))
    assert whole(path) == numbered(9, 18)


def test_name_that_a_link_took_is_not_followed(
    path: Path, made: Callable[..., RotatingFileSink]
) -> None:
    victim = path.with_name("victim")
    victim.write_text("x")
    sink = made(path, 1000, 0, 3)
    write(sink, NOW_S, *numbered(0, 9))
    path.unlink()
    path.symlink_to(victim)
    sink.attend()
    write(sink, NOW_S, b"a")
    assert "the file is a symbolic link" in sink.trouble
    assert victim.read_text() == "x"
    assert sink.spooled == 1
    path.unlink()
    settled(sink, lambda: not sink.spooled)
    assert whole(path) == [b"a"]


def test_lines_may_begin_as_those_of_a_log_daemon(path: Path) -> None:
    sink = FileSink(str(path), prefix="syslog")
    write(sink, NOW_S, b"<Event/>")
    host = os.uname().nodename.partition(".")[0]
    stamp = time.strftime("%b %e %H:%M:%S", time.localtime(NOW_S))
    assert path.read_text() == f"{stamp} {host} sysmon: <Event/>\n"
    sink.close(0)


def test_group_that_is_not_known_is_told_and_lines_are_written(path: Path) -> None:
    sink = FileSink(str(path), group="nosuchgroup")
    write(sink, NOW_S, b"a")
    assert "for root alone: no group nosuchgroup" in sink.trouble
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"a\n", 0o600)
    sink.close(0)
