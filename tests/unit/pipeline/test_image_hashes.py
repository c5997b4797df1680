# SPDX-License-Identifier: MIT
from __future__ import annotations

from typing import Any

import pytest
from support.enrichment import SECOND, encode

from sysmonlx.capture.records import Layouts
from sysmonlx.errors import LibbpfError
from sysmonlx.event import Held
from sysmonlx.host.file_identity import FileId
from sysmonlx.pipeline.image_hashes import ImageHashes
from sysmonlx.processes.launches import Launch


class Hasher:
    """Knows the files of `texts`, by inode; remembers its calls."""

    def __init__(self) -> None:
        self.has_work = True
        self.texts: dict[int, str] = {}
        self.looked: list[int] = []
        self.opened: list[int] = []
        self.asked: list[tuple[int, int, bytes, int, int]] = []

    def cached(self, file: FileId) -> str | None:
        self.looked.append(file.ino)
        return self.texts.get(file.ino)

    def expect(self, file: FileId, tgid: int, path: bytes, namespace: int) -> None:
        self.opened.append(file.ino)

    def request(
        self,
        file: FileId,
        tgid: int,
        path: bytes,
        namespace: int,
        held: Held,
        uid: int,
    ) -> bool:
        self.asked.append((file.ino, tgid, path, namespace, uid))
        return True


class Bench:
    """The hashes of images, the hasher behind them, and what the kernel was told."""

    def __init__(self, layouts: Layouts) -> None:
        self.layouts = layouts
        self.hasher = Hasher()
        hasher: Any = self.hasher
        self.told: list[bytes] = []
        self.map_is_full = False
        create = layouts.by_name["process_create"]
        self.images = ImageHashes(create, hasher, self._tell)

    def _tell(self, file: bytes) -> None:
        if self.map_is_full:
            raise LibbpfError("bpf_map_update_elem", 7, "Argument list too long")
        self.told.append(file)

    def record(self, inode: int) -> bytes:
        return encode(
            self.layouts,
            "process_create",
            tgid=10,
            uid=1000,
            start_boot_ns=SECOND,
            exec_id=1,
            image=b"/a",
            mount_namespace=77,
            file_inode=inode,
        )


@pytest.fixture
def bench(layouts: Layouts) -> Bench:
    return Bench(layouts)


def test_a_known_file_is_looked_up_once(bench: Bench) -> None:
    bench.hasher.texts = {5: "SHA256=1"}
    launches = [Launch("/a", True), Launch("/a", True)]
    launches[1].has_long_values = True
    for launch in launches:
        assert bench.images.known(bench.record(5), launch) == "SHA256=1"
    assert [launch.hashes for launch in launches] == ["SHA256=1", None]
    assert bench.hasher.looked == [5]
    bench.images.forget()
    bench.images.known(bench.record(5), launches[0])
    assert bench.hasher.looked == [5, 5]


def test_a_hash_that_could_not_be_had_is_not_kept(bench: Bench) -> None:
    bench.hasher.texts = {5: "-"}
    launch = Launch("/a", True)
    for _ in range(2):
        assert bench.images.known(bench.record(5), launch) == "-"
    assert (bench.hasher.looked, launch.hashes) == ([5, 5], None)


def test_hashes_that_are_asked_for_stay_whatever_runs_once(bench: Bench) -> None:
    used = range(1, 1001)
    bench.hasher.texts = dict.fromkeys(used, "SHA256=1")
    for turn in range(1, 9):
        for inode in used:
            assert bench.images.known(bench.record(inode), Launch("/a", True))
        once = range(10_000 * turn, 10_000 * turn + 700)
        bench.hasher.texts.update(dict.fromkeys(once, "SHA256=2"))
        for inode in once:
            bench.images.known(bench.record(inode), Launch("/a", True))
        assert len(bench.images) <= 4096
    assert [inode for inode in bench.hasher.looked if inode in used] == [*used]
    assert (bench.images.hits, bench.images.misses) == (8 * 1700, 0)


def test_request_says_whose_file_it_is(bench: Bench) -> None:
    held: Any = object()
    assert bench.images.request(held, bench.record(5))
    assert bench.hasher.asked == [(5, 10, b"/a", 77, 1000)]
    assert len(bench.told) == 1


@pytest.mark.parametrize("map_is_full", [False, True])
def test_the_kernel_is_told_of_a_file_that_nobody_asks_for_once(
    bench: Bench, map_is_full: bool
) -> None:
    bench.map_is_full = map_is_full
    for inode in (5, 5, 6):
        bench.images.not_needed(bench.record(inode))
    assert len(bench.told) == (0 if map_is_full else 2)


def test_only_new_files_are_opened_early(bench: Bench) -> None:
    bench.hasher.texts = {4: "SHA256=1"}
    bench.images.known(bench.record(4), Launch("/a", True))
    bench.images.not_needed(bench.record(5))
    cut_short = bench.record(7)[:-100]
    records = [bench.record(4), bench.record(5), bench.record(6), cut_short]
    bench.images.open_early(records)
    assert bench.hasher.opened == [6]
