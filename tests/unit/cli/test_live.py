# SPDX-License-Identifier: MIT
"""The live view as a program: on a terminal, in a pipe, into a file; no daemon."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.live_feed import start
from support.live_terminal import Terminal, ended
from support.logview import values_of
from support.packs import asks, rule, ruleset_with
from support.running import DEADLINE_S, REPOSITORY, wait_until

from sysmonlx.cli import live
from sysmonlx.cli.live import QUEUE_LIMIT, LiveView
from sysmonlx.cli.live_options import LiveOptions, options_of
from sysmonlx.cli.live_world import LiveWorld
from sysmonlx.config.child import read_data
from sysmonlx.config.command_line import CommandLineOptions
from sysmonlx.errors import UsageError
from sysmonlx.policy import Policy, Settings
from sysmonlx.rules.conditions import Operation
from sysmonlx.rules.sigma.names import name_of
from sysmonlx.service.foreground import Watched
from sysmonlx.viewer.order import LiveEvent

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}",
    "TERM": "xterm",
    "LC_ALL": "C.UTF-8",
    "NO_COLOR": "",
}


@dataclass
class Feed:
    """The program under test, and the pipes by which it is told what happens."""

    words: tuple[str, ...] = ()
    pipes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._theirs_read, self._write = os.pipe()
        self._read, self._theirs_write = os.pipe()
        self.fds = (self._theirs_read, self._theirs_write)
        self.pipes = [*self.fds, self._write, self._read]

    @property
    def command(self) -> list[str]:
        numbers = map(str, self.fds)
        return [sys.executable, "-P", "-m", "support.live_feed", *numbers, *self.words]

    def answer(self) -> str:
        is_there = select.select([self._read], [], [], DEADLINE_S)[0]
        assert is_there, "the program has ended, or hangs"
        return os.read(self._read, 4096).decode().split("\n")[-2]

    def tell(self, order: str) -> int:
        os.write(self._write, f"{order}\n".encode())
        return int(self.answer())

    def close(self) -> None:
        for fd in self.pipes:
            os.close(fd)


@contextmanager
def on_a_terminal(
    *words: str, size: tuple[int, int] = (80, 12), **environment: str
) -> Iterator[tuple[Terminal, Feed, int]]:
    terminal, feed = Terminal(*size), Feed(words)
    try:
        env = ENVIRONMENT | environment
        with terminal.running(feed.command, env, fds=feed.fds) as pid:
            assert feed.answer() == "ready"
            yield terminal, feed, pid
            assert terminal.model.wrapped == 0
    finally:
        terminal.close()
        feed.close()


@contextmanager
def into(
    stdout: int | None, *words: str
) -> Iterator[tuple[subprocess.Popen[bytes], Feed]]:
    feed = Feed(words)
    process = subprocess.Popen(
        feed.command,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        pass_fds=feed.fds,
    )
    try:
        assert feed.answer() == "ready"
        yield process, feed
    finally:
        process.kill()
        process.communicate()
        feed.close()


# --- on a terminal


def test_a_session_at_the_terminal() -> None:
    """Rows, status, filter, pause, details, resize, and the end: stty as before."""
    with on_a_terminal() as (terminal, feed, pid):
        for name in ("curl one", "cat two", "curl three"):
            feed.tell(f"start {name}")
        lines = terminal.has("prog curl three")
        assert [each[32:] for each in lines[1:4]] == [
            "sh ─ prog curl one",
            "sh ─ prog cat two",
            "sh ─ prog curl three",
        ]
        lines = terminal.has("3 of 3 shown")
        assert lines[-1].startswith("── ")
        assert not terminal.is_as_before()
        terminal.type("/cat")
        lines = terminal.shows(lambda found: "/cat▌" in found[-1])
        assert sum("prog" in each for each in lines[:-1]) == 1
        terminal.type("\x1b")
        terminal.has("prog curl one")
        terminal.type(" \x1b[A")
        terminal.has("PAUSED 2 of 3")
        terminal.type("d")
        terminal.has("CommandLine        prog cat two")
        terminal.type("d ")
        terminal.resize(60, 20)
        feed.tell("start after")
        terminal.has("prog after")
        terminal.shows(lambda found: found[19].startswith("── "), "the status row")
        terminal.type("q")
        assert ended(pid) == 0
        terminal.has("4 events in")
        terminal.has("0 lost")
        assert terminal.is_as_before()
        assert terminal.model.shows_cursor


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_every_signal_that_ends_it_leaves_the_terminal_as_it_was(number: int) -> None:
    with on_a_terminal() as (terminal, feed, pid):
        feed.tell("start one")
        terminal.has("prog one")
        os.kill(pid, number)
        assert ended(pid) == 0
        assert terminal.is_as_before()
        terminal.shows(lambda lines: terminal.model.shows_cursor)
        assert terminal.model.wraps


def test_an_error_of_the_view_leaves_the_terminal_as_it_was() -> None:
    with on_a_terminal() as (terminal, feed, pid):
        feed.tell("start one")
        terminal.has("prog one")
        feed.tell("crash")
        assert ended(pid) == 1
        terminal.has("IndexError")
        assert terminal.is_as_before()
        terminal.shows(lambda lines: terminal.model.shows_cursor)
        assert terminal.model.wraps
        terminal.model.wrapped = 0  # a traceback has long lines


def test_keys_that_end_it() -> None:
    with on_a_terminal() as (terminal, feed, pid):
        feed.tell("start one")
        terminal.has("prog one")
        terminal.type("\x03")
        assert ended(pid) == 0
        assert terminal.is_as_before()


def test_it_stops_and_goes_on_with_the_shell() -> None:
    """Ctrl-Z and fg, within a shell that has job control."""
    terminal, feed = Terminal(80, 12), Feed()
    command = " ".join(feed.command)
    shell = ["/bin/bash", "--norc", "--noprofile", "--noediting", "-i"]
    env = ENVIRONMENT | {"PS1": "$ ", "HISTFILE": ""}
    try:
        with terminal.running(shell, env, fds=feed.fds):
            terminal.type(f"{command}; echo status $?; stty -a | grep -c ' icanon'\n")
            assert feed.answer() == "ready"
            feed.tell("start one")
            terminal.has("prog one")
            terminal.type("\x1a")
            terminal.has("Stopped")
            terminal.type("stty -a | grep -o ' icanon'\n")
            terminal.has(" icanon")
            terminal.type("fg\n")
            terminal.shows(lambda lines: lines[-1].startswith("── "))
            feed.tell("start two")
            terminal.has("prog two")
            terminal.type("q")
            terminal.has("2 events in")
            terminal.type("echo status $?\n")
            terminal.has("status 0")
    finally:
        terminal.close()
        feed.close()


def test_terminal_that_does_not_read_costs_rows_and_keeps_nobody() -> None:
    with on_a_terminal() as (terminal, feed, pid):
        feed.tell("start one")
        terminal.has("prog one")
        terminal.reads = False
        total_ns = 0
        for _ in range(50):
            total_ns += feed.tell("many 1000")
            time.sleep(0.02)
        assert total_ns / 50 < 20_000  # a piece, of the thread that hands events over
        time.sleep(0.3)
        terminal.reads = True
        terminal.has("50,001 of 50,001 shown")  # it has caught up
        feed.tell("start again")
        terminal.has("prog again")
        terminal.has("skipped")
        terminal.type("q")
        assert ended(pid) == 0
        terminal.has("50002 events in")
        lines = terminal.has("rows skipped: the terminal was slow")
        skipped = next(
            int(each.split()[0]) for each in lines if "rows skipped: " in each
        )
        rows = [*terminal.model.history, *lines]
        assert skipped + sum("prog" in each for each in rows) >= 50_002 - 60
        assert terminal.is_as_before()


def test_terminal_that_never_reads_does_not_keep_the_end_waiting() -> None:
    with on_a_terminal() as (terminal, feed, pid):
        terminal.reads = False
        for _ in range(30):
            feed.tell("many 1000")
            time.sleep(0.02)
        begun_s = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        assert ended(pid) == 0
        assert time.monotonic() - begun_s < 5
        assert terminal.is_as_before()


@pytest.mark.parametrize(
    ("environment", "size"),
    [({"TERM": "dumb"}, (80, 12)), ({}, (19, 12)), ({}, (80, 3))],
)
def test_simple_or_small_terminal_has_plain_rows(
    environment: dict[str, str], size: tuple[int, int]
) -> None:
    with on_a_terminal(size=size, **environment) as (terminal, feed, pid):
        assert terminal.is_as_before()
        feed.tell("start " + "x" * 200)
        terminal.has(" + ")
        assert terminal.model.wrapped == 0
        os.kill(pid, signal.SIGTERM)
        assert ended(pid) == 0
        terminal.model.wrapped = 0  # the summary is text, which may be longer
        rows = [*terminal.model.history, *terminal.model.lines()]
        assert sum(" + " in each for each in rows) == 1


# --- elsewhere


def test_pipe_gets_whole_rows_at_once_and_the_summary() -> None:
    with into(subprocess.PIPE) as (process, feed):
        assert process.stdout is not None
        feed.tell("start " + "x" * 3000)
        row = process.stdout.readline()
        assert row.endswith(b"sh \xe2\x94\x80 prog " + b"x" * 3000 + b"\n")
        feed.tell("many 500")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=DEADLINE_S)
        rows = [each for each in out.splitlines() if b"prog many" in each]
        assert len(rows) == 500
        assert b"\n501 events in" in out
        assert (process.returncode, err) == (0, b"")
        assert b"\x1b" not in out


def test_reader_that_goes_away_ends_it_without_an_error() -> None:
    with into(subprocess.PIPE) as (process, feed):
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        feed.tell("start one")
        _, err = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, err) == (0, b"")


def test_reader_that_is_slow_costs_nobody_anything() -> None:
    with into(subprocess.PIPE) as (process, feed):
        total_ns = 0
        for _ in range(40):
            total_ns += feed.tell("many 1000")
            time.sleep(0.02)
        assert total_ns / 40 < 20_000  # a piece; caches may be cold for one of them
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=DEADLINE_S)
        whole = out.count(b"prog many")
        assert (process.returncode, b"Traceback" in err) == (0, False)
        assert whole > 500
        told = (b"were not written" in err, b"not all" in err, b"skipped" in out)
        assert whole == 40_000 or any(told), err


def test_file_gets_every_row(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as file, into(file.fileno()) as (process, feed):
        for _ in range(20):
            feed.tell("many 1000")
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0
    text = (tmp_path / "out").read_text()
    assert text.count(" prog many ") == 20_000
    assert "20000 events in" in text


def test_full_disk_is_an_error() -> None:
    with open("/dev/full", "wb") as full, into(full.fileno()) as (process, feed):
        feed.tell("start one")
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode != 0
        assert b"No space left on device" in err


def test_json_is_a_line_an_event_for_programs() -> None:
    with into(subprocess.PIPE, "json", "no:two") as (process, feed):
        assert process.stdout is not None
        feed.tell("start one\nstart two")
        feed.tell("start three")
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=DEADLINE_S)
    events = [json.loads(each)["Event"] for each in lines]
    commands = [each["EventData"]["CommandLine"] for each in events]
    assert commands == ["prog one", "prog three"]
    assert [each["System"]["EventRecordID"] for each in events] == [0, 1]
    assert out == b""
    assert b"3 events in" in err


def test_words_signs_and_colour_are_those_asked_for() -> None:
    words = ("curl", "--ascii", "--colour=always", "--tree")
    with into(subprocess.PIPE, *words) as (process, feed):
        assert process.stdout is not None
        feed.tell("start two")
        feed.tell("start curl é")
        row = process.stdout.readline()
    assert b"sh - \x1b[1mprog\x1b[0m curl \\xe9" in row


# --- the thread that hands events over


def test_queue_is_bounded_and_what_it_does_not_take_is_counted() -> None:
    view = LiveView(LiveOptions())
    for _ in range(QUEUE_LIMIT + 7):
        view.show(255, ("t", "i", "d"))
    assert len(view._queue) == QUEUE_LIMIT
    assert view._missed == 7
    os.close(view._wake)


class SlowShower:
    """Shows a piece in 20 ms, once it is let go; notes how many events it has shown."""

    is_stale = False

    def __init__(self) -> None:
        self.shown = 0
        self.may_go = threading.Event()

    def feed(self, events: Sequence[LiveEvent], missed: int, now_s: float) -> None:
        self.may_go.wait()
        time.sleep(0.02)
        self.shown += len(events)

    def tick(self, now_s: float) -> None: ...

    def finish(self) -> str:
        return ""


@pytest.mark.parametrize("hangs", [False, True])
def test_end_waits_for_a_view_that_goes_on_and_tells_what_it_leaves(
    hangs: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live, "_END_S", 0.1 if hangs else DEADLINE_S)
    monkeypatch.setattr(live, "_MOST_S", DEADLINE_S)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    view, shower = LiveView(LiveOptions()), SlowShower()
    monkeypatch.setattr(view, "_made_shower", lambda: shower)
    for _ in range(5000):
        view.show(*start("one"))
    view.begin(Watched(Policy, lambda: 0))
    thread = view._thread
    if not hangs:
        shower.may_go.set()
    view.close()
    assert (shower.shown == 5000) is not hangs
    told = "not all events are shown: the view took too long\n" if hangs else ""
    assert capfd.readouterr().err == told
    shower.may_go.set()
    assert thread is not None
    thread.join()
    os.close(view._wake)


# --- words


@pytest.mark.parametrize(
    ("words", "rules", "form", "left"),
    [
        ([], "", "rows", []),
        (["a.xml"], "a.xml", "rows", []),
        (["a.xml", "curl", "no:x"], "a.xml", "rows", ["curl", "no:x"]),
        (["curl", "a.xml"], "", "rows", ["curl", "a.xml"]),
        (["json"], "", "json", []),
        (["json", "a.xml", "curl"], "a.xml", "json", ["curl"]),
        (["json", "json"], "", "json", ["json"]),
        (["--ascii", "--local", "--tree", "curl"], "", "rows", ["curl"]),
    ],
)
def test_words_behind_t(
    words: list[str], rules: str, form: str, left: list[str]
) -> None:
    options = options_of(words)
    assert (options.rules, options.form, options.words) == (rules, form, left)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--color"], "one of auto, always, never"),
        (["--colour", "red"], "one of auto, always, never"),
        (["--asci"], "-t --asci: it has --colour, --ascii, --local, --tree"),
        (["imge:\x1b[2Jx"], r"-t imge:\x1b[2Jx: no event has a field imge"),
        (["level:9"], "one of low, medium, high, critical"),
    ],
)
def test_words_that_cannot_be_used_are_refused(words: list[str], text: str) -> None:
    with pytest.raises(UsageError) as refused:
        options_of(words)
    assert text in str(refused.value)
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "no_color", "term", "is_terminal", "is_coloured"),
    [
        ([], "", "xterm", True, True),
        ([], "", "xterm", False, False),
        ([], "1", "xterm", True, False),
        ([], "", "dumb", True, False),
        (["--colour=always"], "1", "dumb", False, True),
        (["--colour", "never"], "", "xterm", True, False),
    ],
)
def test_colour_is_for_terminals_that_have_it(
    words: list[str],
    no_color: str,
    term: str,
    is_terminal: bool,
    is_coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", term)
    assert options_of(words).has_colour(is_terminal=is_terminal) is is_coloured


# --- what keys ask the world for

RULES = b"""<Sysmon schemaversion="4.90"><EventFiltering>
<ProcessCreate onmatch="include">
<Image condition="end with" name="a shell">/sh</Image></ProcessCreate>
</EventFiltering></Sysmon>"""


def test_reason_names_the_rule_and_its_line() -> None:
    policy = read_data(RULES, "a.xml", CommandLineOptions()).policy
    assert policy is not None
    world = LiveWorld(lambda: policy)
    event = LiveEvent(1, values_of(1, Image="/bin/sh", RuleName="a shell"))
    assert world.explain(event) == [
        "Reported by a.xml:2: ProcessCreate, onmatch=include",
        "a.xml:3: Image end with '/sh', name a shell",
    ]
    policies = [policy, Policy()]
    other = LiveWorld(lambda: policies.pop(0))
    assert other.explain(event)[0].startswith("The configuration was replaced")
    end = LiveEvent(5, values_of(5))
    assert world.explain(end) == ["Reported since no condition of a.xml excludes it."]
    own = LiveEvent(255, values_of(255))
    assert world.explain(own)[0].startswith("sysmonlx itself reports this event")


def test_details_name_the_rules_of_sigma_with_their_techniques() -> None:
    wget = rule(
        "Download", asks("Image", Operation.END, "/wget"), tags=("attack.t1105",)
    )
    ruleset = ruleset_with([wget], "include")
    policy = Policy(ruleset, Settings(rules=(ruleset.packs[0].choice,)))
    world = LiveWorld(lambda: policy)
    after = "2026-01-01 00:00:01.000 {1}"
    hit = f"{name_of(wget)}"
    names = f"sigma=Chain,level=high,after={after} | {hit} | +3 more | mine"
    values = [*values_of(11, Image="/bin/wget", RuleName=hit), names]
    event = LiveEvent(11, values)
    assert world.kind(event).fields[-1].name == "RuleNames"
    assert world.explain(event) == [
        f"Sigma rule, high: Chain, after {after}",
        "Sigma rule, high: Download (T1105 Ingress Tool Transfer)",
        "Sigma: 3 more rules",
        "Reported since a rule of Sigma asks for it, not by Sysmon's rules.",
    ]
    plain = LiveEvent(5, [*values_of(5), "-"])
    assert world.explain(plain) == [
        "Reported since no condition of the built-in rules excludes it."
    ]


def test_saved_file_is_new_and_its_owners_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    world, event = LiveWorld(Policy), LiveEvent(255, values_of(255, ID="x"))
    assert world.save([event, event]).startswith("saved 2 events to sysmonlx-")
    [path] = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text().splitlines()) == 2
    monkeypatch.setattr(time, "strftime", lambda *_: path.name)
    assert "File exists" in world.save([event])
    wait_until(lambda: path.exists())
