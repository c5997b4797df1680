# SPDX-License-Identifier: MIT
"""The screen of the live view, seen through a model of a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from support.logview import values_of
from support.screens import ScreenModel
from wcwidth import wcswidth

from sysmonlx.schema.event_types import EventType
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.viewer.console import HELP, HISTORY, Console
from sysmonlx.viewer.keys import keys_of
from sysmonlx.viewer.order import LiveEvent
from sysmonlx.viewer.rows import Style
from sysmonlx.viewer.scroller import ROWS
from sysmonlx.viewer.signs import ASCII, UNICODE


class World:
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        self.saved: list[LiveEvent] = []
        self.appended: tuple[str, ...] = ()

    def kind(self, event: LiveEvent) -> EventType:
        return EVENT_BY_ID[event.event_id].with_appended(self.appended)

    def explain(self, event: LiveEvent) -> list[str]:
        return [f"explained {event.event_id}"]

    def save(self, events: Iterable[LiveEvent]) -> str:
        self.saved = [*events]
        return "saved them"


def start(number: int, command: str = "", **values: str) -> LiveEvent:
    at_ms = number * 7
    minute, second = divmod(at_ms // 1000, 60)
    own = {
        "UtcTime": f"2026-01-05 10:{minute:02}:{second:02}.{at_ms % 1000:03}",
        "ProcessGuid": f"{{{number}}}",
        "ProcessId": str(1000 + number),
        "User": "alice",
        "Image": "/bin/prog",
        "CommandLine": command or f"prog {number % 1000}",
        "ParentImage": "/bin/sh",
        "ParentProcessGuid": "{sh}",
    }
    return LiveEvent(1, values_of(1, **(own | values)))


def end(number: int, after_ms: int = 20) -> LiveEvent:
    at_ms = number * 7 + after_ms
    utc = f"2026-01-05 10:00:{at_ms // 1000:02}.{at_ms % 1000:03}"
    own = {"UtcTime": utc, "ProcessGuid": f"{{{number}}}", "Image": "/bin/prog"}
    return LiveEvent(5, values_of(5, **own))


class Session:
    """A console on a terminal."""

    def __init__(self, size: tuple[int, int] = (80, 12), *words: str) -> None:
        self.world = World()
        self.model = ScreenModel(*size)
        style = Style(has_colour=True)
        self.console = Console(
            style, size, words, self.world, now_s=0.0, own_pid="1000"
        )
        self.now_s = 0.0
        self.model.write(b"$ before\r\n")
        self.write(self.console.enter())

    def write(self, text: str) -> None:
        self.model.write(text.encode())
        assert self.model.wrapped == 0

    def feed(self, *events: LiveEvent, may_draw: bool = True) -> None:
        self.now_s += 0.1
        self.write(self.console.feed(events, self.now_s, may_draw=may_draw))
        self.write(self.console.status(self.now_s))

    def keys(self, text: str) -> None:
        for key in keys_of(text.encode()):
            self.write(self.console.key(key))
        self.write(self.console.status(self.now_s))

    def resize(self, width: int, height: int) -> None:
        self.model.resize(width, height)
        self.write(self.console.resume((width, height)))
        self.write(self.console.status(self.now_s))

    @property
    def rows(self) -> list[str]:
        """The lines above the status row, but those that tell the day."""
        lines = self.model.lines()[:-1]
        return [each for each in lines if each and not each.startswith("──")]

    @property
    def programs(self) -> list[str]:
        return [re.sub(r".* ─ |.*└ |  exit.*", "", each) for each in self.rows]

    @property
    def status(self) -> str:
        return self.model.lines()[-1]


def test_rows_grow_from_the_top_and_then_scroll_into_the_history() -> None:
    session = Session()
    assert session.model.history[0] == "$ before"
    session.feed(start(1), start(2))
    assert session.model.lines()[0] == "── 2026-01-05 ──"
    assert session.programs == ["prog 1", "prog 2"]
    session.feed(*(start(n) for n in range(3, 40)))
    assert session.programs == [f"prog {n}" for n in range(29, 40)]
    rows = [each for each in session.model.history if "prog" in each]
    assert len(rows) + len(session.rows) == 39
    assert session.status.startswith("── ")
    assert "39 of 39 shown" in session.status


def test_row_on_the_screen_learns_of_its_end() -> None:
    session = Session()
    session.feed(start(1), start(2))
    session.feed(end(1))
    assert session.rows[0].endswith("prog 1  exit 0.02 s")
    assert len(session.rows) == 2


def test_end_of_what_scrolled_away_has_a_row() -> None:
    session = Session()
    session.feed(start(1))
    session.feed(*(start(n) for n in range(2, 30)))
    session.feed(end(1, 500))
    assert session.rows[-1].endswith(" prog ended after 0.50 s")


def test_filter_applies_while_it_is_typed() -> None:
    session = Session()
    session.feed(start(1, "prog curl"), start(2, "prog cat"), start(3, "prog curl"))
    session.keys("/cur")
    assert "/cur▌" in session.status
    assert session.programs == ["prog curl  ×2"]
    session.feed(start(4, "prog dog"), start(5, "prog curling"))
    assert session.programs == ["prog curl  ×2", "prog curling"]
    session.keys("\x7f\x7f\x7f")
    assert len(session.rows) == 4
    session.keys("cat\r")
    assert session.programs == ["prog cat"]
    assert "/cat ──" in session.status
    session.keys("/x\x1b")
    assert session.programs == ["prog cat"]
    session.keys("/\x15\x1b[A")
    assert "/cat▌" in session.status
    session.keys("\x15\r")
    assert len(session.rows) == 4


def test_wrong_filter_is_told_and_the_one_before_stays() -> None:
    session = Session()
    session.feed(start(1, "prog curl"), start(2, "prog cat"))
    session.keys("/imge:x")
    assert "did you mean image:?" in session.status
    assert session.rows == []  # as of "imge", which is a text
    session.keys("\x1b")
    assert "did you mean" not in session.status
    assert len(session.rows) == 2


def test_words_of_the_command_line_are_the_first_filter() -> None:
    session = Session((80, 12), "cmd:*curl*")
    session.feed(start(1, "prog curl"), start(2, "prog cat"))
    assert session.programs == ["prog curl"]
    assert "1 of 2 shown" in session.status


def test_pause_is_a_list_to_walk_in_and_events_are_kept() -> None:
    session = Session()
    session.feed(*(start(n) for n in range(100)))
    session.keys(" ")
    assert "PAUSED 100 of 100 │ d details │ space goes on" in session.status
    assert session.programs[-1] == "prog 99"
    session.feed(start(100))
    assert session.programs[-1] == "prog 99"
    session.keys("\x1b[A\x1b[A")
    assert "PAUSED 98 of 100" in session.status
    session.keys("\x1b[H")
    assert session.programs[0] == "prog 0"
    session.keys("\x1b[6~")
    assert "PAUSED 11 of 100" in session.status
    session.keys("\x1b[5~\x1b[5~")
    assert "PAUSED 1 of 100" in session.status
    session.keys('\x1b[F/"prog 5\r')
    assert "PAUSED 11 of 11" in session.status
    session.keys("/\x15\r ")
    assert session.programs[-1] == "prog 100"


def test_details_show_all_fields_and_the_reason() -> None:
    session = Session((80, 30))
    session.world.appended = ("LoginUser",)
    first = start(1, "prog  \x1b[2J" + "x" * 200)
    session.feed(LiveEvent(1, [*first.values, "bob"]), start(2))
    session.keys(" \x1b[Ad")
    text = "\n".join(session.model.lines())
    assert "LoginUser          bob" in text
    assert "Not known: RuleName, FileVersion" in text
    assert "Event 1: ProcessCreate" in text
    assert r"CommandLine        prog \x20\x1b[2Jxxx" in text
    assert "explained 1" in text
    session.keys("d")
    assert "PAUSED 1 of 2" in session.status
    assert len(session.rows) == 2
    session.keys(" \r")
    assert "CommandLine        prog 2" in "\n".join(session.model.lines())
    session.keys("x")
    assert session.programs[-1] == "prog 2"


def test_details_without_events_are_nothing() -> None:
    session = Session()
    session.keys("dt\r d/nothing\r")
    assert session.rows == []


def test_tree_of_a_row_and_back() -> None:
    session = Session()
    session.feed(start(1), start(2), start(3, "prog child", ParentProcessGuid="{1}"))
    session.keys(" \x1b[H")
    session.keys("t ")
    assert session.programs == ["prog 1", "prog child"]
    assert "/tree:{1}" in session.status
    session.keys(" \x1b[Ht ")
    assert len(session.rows) == 3


def test_keys_choose_by_rule_level_and_end() -> None:
    session = Session()
    session.feed(
        start(1),
        start(2, RuleName="T1059"),
        start(3, RuleName="sigma=Odd,level=medium"),
        end(77),
    )
    session.keys("r")
    assert "rules only" in session.status
    assert len(session.rows) == 2
    session.keys("rll")
    assert "level medium and above" in session.status
    assert len(session.rows) == 1
    session.keys("ll")
    assert len(session.rows) == 3
    session.keys("x")
    assert len(session.rows) == 4
    session.keys("xc")
    assert session.rows == []


def test_save_gives_what_is_shown() -> None:
    session = Session()
    session.keys("s")
    assert "nothing to save" in session.status
    session.feed(start(1, "prog a"), start(2, "prog b"))
    session.keys('/"prog b\rs')
    assert [each.values[3] for each in session.world.saved] == ["1002"]
    assert "saved them" in session.status
    session.now_s += 6
    session.keys("")
    assert "saved them" not in session.status


def test_help_fits_its_columns_and_goes_away() -> None:
    assert max(map(len, HELP.splitlines())) < 80
    session = Session((80, 12))
    session.feed(start(1))
    session.keys("?")
    assert session.model.lines()[0] == "The live view of sysmonlx"
    assert "Esc back" in session.status
    session.keys("\x1b[F")
    assert "E error, loss" in session.model.lines()[-2]
    session.keys("?")
    assert session.programs == ["prog 1"]


@pytest.mark.parametrize("keys", ["q", "\x03", "?qq", "?\x03", " q"])
def test_q_asks_for_the_end(keys: str) -> None:
    session = Session()
    session.keys("/q\r")
    assert not session.console.is_done
    session.keys(keys)
    assert session.console.is_done


@pytest.mark.parametrize("key", ["?", "d"])
def test_q_leaves_help_and_details_first(key: str) -> None:
    """As in less(1) and top(1): who reads a text does not end the whole view by it."""
    session = Session()
    session.feed(start(1))
    session.keys(key)
    assert "Esc back" in session.status
    session.keys("q")
    assert not session.console.is_done
    assert "Esc back" not in session.status
    assert session.programs == ["prog 1"]


def test_other_keys_do_nothing() -> None:
    session = Session()
    session.feed(start(1))
    before = session.model.lines()
    session.keys(
        "\x00\x01azZ9é\x1b[15~\x1b[1;5C\t\udcff".encode("utf-8", "ignore").decode()
    )
    assert session.model.lines() == before


def test_resize_draws_anew_at_the_other_size() -> None:
    session = Session((120, 12))
    session.feed(*(start(n, RuleName="T1059") for n in range(50)))
    for size in ((60, 20), (41, 6), (140, 40)):
        session.resize(*size)
        assert wcswidth(session.status) == size[0]
        assert all(wcswidth(each) <= size[0] for each in session.model.lines())
        session.feed(start(100 + size[0]))
        assert session.rows[-1].startswith("10:00:0")
        assert size[0] < 60 or f"prog {100 + size[0]}" in session.rows[-1]


def test_leaving_puts_all_back() -> None:
    session = Session()
    session.feed(*(start(n) for n in range(30)))
    session.write(session.console.leave())
    model = session.model
    assert (model.shows_cursor, model.wraps) == (True, True)
    assert (model.row, model.column, model.bottom) == (11, 0, 11)
    assert session.status == ""


def test_terminal_that_is_slow_costs_rows_that_are_counted() -> None:
    session = Session()
    session.feed(start(1))
    session.feed(*(start(n) for n in range(2, 1206)), may_draw=False)
    assert len(session.rows) == 1
    session.feed(start(1300))
    assert "1,204 rows skipped" in "\n".join(session.model.lines())
    assert session.console.counts.skipped == 1204
    session.console.skip(5)
    session.feed(start(1301))
    assert "1,209 skipped" in session.console.status(session.now_s + 9)


def test_flood_draws_so_many_rows_a_step_and_tells_of_the_others() -> None:
    session = Session()
    session.feed(*(start(n) for n in range(ROWS + 50)))
    assert session.console.counts.skipped == 50
    assert session.programs[-1] == f"prog {ROWS + 49}"
    told = [each for each in session.model.history if "50 rows skipped" in each]
    assert len(told) == 1


def test_history_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysmonlx.viewer.console.HISTORY", 300)
    session = Session()
    session.feed(*(start(n) for n in range(500)))
    session.keys(" ")
    assert "PAUSED 300 of 300" in session.status
    assert HISTORY == 20_000


def test_losses_are_told_in_red() -> None:
    session = Session((120, 12))
    session.feed(start(1))
    session.console.counts.lost = 12
    assert "\x1b[1;31m12 lost" in session.console.status(session.now_s)


@pytest.mark.parametrize("signs", [UNICODE, ASCII])
@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 140])
def test_status_row_has_the_width_of_the_screen(width: int, signs: object) -> None:
    style = Style(signs=ASCII if signs is ASCII else UNICODE)
    console = Console(style, (width, 10), [], World(), now_s=0.0)
    console.enter()
    console.feed([start(n) for n in range(300)], 5.0)
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", console.status(5.0))
    assert wcswidth(text) == width
    assert signs is UNICODE or text.isascii()
    assert "0 lost" in text
    assert "300 of 300 shown" in text or width < 60
    assert "60/s" in text or width < 80
