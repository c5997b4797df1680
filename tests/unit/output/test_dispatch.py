# SPDX-License-Identifier: MIT
"""The account of lines: whatever fails, each is delivered, waiting or lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sysmonlx.event import Event
from sysmonlx.output.dispatch import Output
from sysmonlx.output.lines import Lines
from sysmonlx.output.record_ids import RecordIds
from sysmonlx.output.render import Renderer
from sysmonlx.policy import Settings, SinkChoice
from sysmonlx.schema.events import ERROR, EVENT_BY_ID


def event(text: str) -> Event:
    return ERROR.id, ["2026-01-01 00:00:00.000", "Test", text], False, None


class Picky(Renderer):
    """A renderer that fails at some texts."""

    def lines(self, events: Sequence[Event], *rest: Any) -> Any:
        if any("bad" in each[1][2] for each in events):
            raise KeyError("bad")
        return super().lines(events, *rest)


def make_renderer(choice: SinkChoice) -> Renderer:
    return Picky(choice.form, "host", 1, 1, 0, 65535, ())


def opened(*paths: Path) -> Output:
    output = Output(RecordIds(None))
    sinks = tuple(SinkChoice("file", "json", str(path)) for path in paths)
    output.configure(Settings(sinks=sinks), make_renderer)
    return output


def balance(output: Output) -> int:
    lost = sum(output.losses().values())
    return output.due - output.delivered() - output.spooled() - lost


def test_lines_are_due_once_for_each_sink(tmp_path: Path) -> None:
    output = opened(tmp_path / "a", tmp_path / "b")
    for number in range(100):
        output.emit(event(str(number)))
    assert output.emitted() == {ERROR.id: 100}
    output.flush()
    assert (output.due, output.delivered(), balance(output)) == (200, 200, 0)
    output.close(0)


def test_an_event_that_cannot_be_rendered_is_lost_alone(tmp_path: Path) -> None:
    output = opened(tmp_path / "a")
    noted: list[Exception] = []
    output.note = noted.append
    for text in ("one", "bad", "three", "bad", "five"):
        output.emit(event(text))
    output.flush()
    assert output.losses() == {"error: KeyError": 2}
    assert len((tmp_path / "a").read_text().splitlines()) == 3
    assert balance(output) == 0
    assert [str(each) for each in noted] == ["'bad'", "'bad'"]
    output.close(0)


@pytest.mark.parametrize("taken", [0, 2, 3])
def test_an_error_in_a_sink_loses_what_it_did_not_take(
    taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = opened(tmp_path / "a", tmp_path / "b")
    sink = output._channels[0].sink
    write = sink.write_framed

    def write_some(lines: Lines) -> None:
        write(Lines.of(lines.split()[:taken]))
        raise MemoryError

    monkeypatch.setattr(sink, "write_framed", write_some)
    for text in ("one", "two", "three"):
        output.emit(event(text))
    output.flush()
    assert output.losses() == ({"error: MemoryError": 3 - taken} if taken < 3 else {})
    assert balance(output) == 0
    assert len((tmp_path / "b").read_text().splitlines()) == 3
    output.close(0)


def test_an_error_while_a_sink_writes_on_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = opened(tmp_path / "missing" / "a")
    output.emit(event("one"))
    output.flush()
    noted: list[Exception] = []
    output.note = noted.append
    (channel,) = output._channels
    with monkeypatch.context() as patch:
        patch.setattr(channel.sink, "flush", Faulty(MemoryError()))
        output.flush()
    assert [type(each) for each in noted] == [MemoryError]
    assert (output.spooled(), balance(output)) == (1, 0)
    assert not output.is_moving()  # nobody need look before the sink tries again
    (tmp_path / "missing").mkdir()
    output.reopen()
    assert (output.delivered(), balance(output)) == (1, 0)
    output.close(0)


class Faulty:
    """Fails whenever it is called."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self) -> None:
        raise self.error


def test_account_outlives_a_sink(tmp_path: Path) -> None:
    output = opened(tmp_path / "a")
    output.emit(event("one"))
    output.configure(
        Settings(sinks=(SinkChoice("file", "json", str(tmp_path / "b")),)),
        make_renderer,
    )
    output.emit(event("two"))
    output.flush()
    assert (output.due, output.delivered(), balance(output)) == (2, 2, 0)
    output.close(0)
    assert balance(output) == 0


def test_a_view_that_fails_costs_no_event() -> None:
    def fail(event_id: int, values: Sequence[str]) -> None:
        raise BrokenPipeError

    output = Output(RecordIds(None), fail)
    output.emit(event("one"))
    assert output.emitted() == {ERROR.id: 1}
    with pytest.raises(BrokenPipeError):
        output.flush()
    output.flush()
    assert output.emitted() == {ERROR.id: 1}


def test_sink_for_hits_takes_what_rules_of_sigma_hit_and_no_more(
    tmp_path: Path,
) -> None:
    everything, hits = tmp_path / "all", tmp_path / "hits"
    output = Output(RecordIds(None))
    settings = Settings(
        sinks=(SinkChoice("file", "json", str(everything)),),
        hit_sinks=(SinkChoice("file", "json", str(hits)),),
    )
    output.configure(settings, make_renderer)
    size = len(EVENT_BY_ID[11].fields) - 1
    for name in ("-", "sigma=A,level=low", "named", "sigma=B,level=low"):
        output.emit((11, [name, *["-"] * size], False, None))
    output.emit(event("one of the service's own"))
    output.flush()
    lines = everything.read_text().splitlines()
    assert len(lines) == 5
    assert hits.read_text().splitlines() == [lines[1], lines[3]]  # numbers too
    assert (output.due, output.delivered(), balance(output)) == (7, 7, 0)
    output.close(0)


def test_tap_is_shown_what_is_written_and_breaks_nothing(tmp_path: Path) -> None:
    output, shown = opened(tmp_path / "a"), list[Event]()
    output.tap = shown.extend
    output.emit(event("one"))
    output.flush()
    assert shown == [event("one")]

    def broken(events: Sequence[Event]) -> None:
        raise ValueError("broken")

    noted = list[Exception]()
    output.note, output.tap = noted.append, broken
    output.emit(event("two"))
    output.flush()
    assert [type(each) for each in noted] == [ValueError]
    assert (output.delivered(), balance(output)) == (2, 0)
    output.close(0)
