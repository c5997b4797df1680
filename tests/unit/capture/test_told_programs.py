# SPDX-License-Identifier: MIT
"""Programs that perf tells: each is told once, and the books close."""

from __future__ import annotations

from errno import E2BIG, EEXIST
from typing import Any

import pytest

from sysmonlx.bpf.side_band import ToldProgram
from sysmonlx.capture.counters import RecordCounts
from sysmonlx.capture.records import Layouts
from sysmonlx.capture.told_programs import PROGRAM_RECORD, LiveProgram, ToldPrograms
from sysmonlx.errors import LibbpfError

NO_COUNTS = RecordCounts(5, 1, 4, 0, (0, 0, 0))


class Map:
    """A map of the kernel with one key, which refuses with an error."""

    def __init__(self, errno: int = EEXIST) -> None:
        self.keys: dict[bytes, bytes] = {}
        self.errno = errno

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        if self.errno != EEXIST or (flags == 1 and key in self.keys):
            raise LibbpfError("update", self.errno, "no")
        self.keys[key] = value

    def lookup(self, key: bytes, size: int = 0) -> bytes:
        if key not in self.keys:
            raise LibbpfError("lookup", 2, "no")
        return self.keys[key]


def made(layouts: Layouts, *, told: Map | None = None, alive: bytes = b"") -> Any:
    maps: Any = {"programs_told": told or Map(), "untold_forks": Map()}
    return ToldPrograms(maps, layouts, lambda name, value: None, lambda: alive)


def test_a_program_is_claimed_once(layouts: Layouts) -> None:
    programs = made(layouts)
    assert [*map(programs.claim, (7, 7, 8))] == [True, False, True]


def test_a_program_is_rather_told_twice_than_not_at_all(layouts: Layouts) -> None:
    assert made(layouts, told=Map(E2BIG)).claim(7)


def test_living_programs_have_type_name_and_user(layouts: Layouts) -> None:
    layout = layouts.by_name[PROGRAM_RECORD]
    data = b"".join(
        layout.encode(uid=uid, program_id=number, program_type=kind, name=b"n%d" % kind)
        for uid, number, kind in ((0, 3, 1), (1000, 4, 26))
    )
    assert made(layouts, alive=data).alive() == {
        3: LiveProgram(1, b"n1", 0),
        4: LiveProgram(26, b"n26", 1000),
    }


def test_an_iterator_that_is_refused_leaves_types_unknown(layouts: Layouts) -> None:
    def refuse() -> bytes:
        raise OSError("no memory")

    programs = ToldPrograms({}, layouts, lambda name, value: None, refuse)
    assert programs.alive() == {}


def test_a_fork_that_was_not_told_is_found(layouts: Layouts) -> None:
    programs = made(layouts)
    assert programs.fork_untold(7) == b""
    programs._maps["untold_forks"].update((7).to_bytes(4, "little"), b"fork")
    assert programs.fork_untold(7) == b"fork"


def test_what_perf_told_and_lost_is_in_the_books(layouts: Layouts) -> None:
    programs = made(layouts)
    counts = {PROGRAM_RECORD: NO_COUNTS}
    assert programs.added_to(dict(counts)) == counts
    programs.record(ToldProgram(1, 2, 3, 4, b"x"), None, (0, 0, 0))
    programs.side_band.lost = 3
    found = programs.added_to(dict(counts))[PROGRAM_RECORD]
    at = layouts.reasons.index("ring full")
    assert (found.seen, found.submitted, found.lost[at]) == (9, 5, 3)
    fates = found.filtered + found.submitted + found.left_out + sum(found.lost)
    assert fates == found.seen


def test_a_refusal_leaves_the_hook_alone_to_tell(
    layouts: Layouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, bool]] = []
    programs = ToldPrograms(
        {}, layouts, lambda name, value: said.append((name, value)), bytes
    )

    def refuse() -> None:
        raise PermissionError(13, "perf_event_open: Permission denied")

    monkeypatch.setattr(programs.side_band, "open", refuse)
    with pytest.raises(PermissionError):
        programs.open()
    assert said == [("programs_by_perf", True), ("programs_by_perf", False)]
    programs.end()
