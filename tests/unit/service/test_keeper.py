# SPDX-License-Identifier: MIT
"""The keeper with daemons that do as they are told: what is started again, and when."""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sysmonlx.errors import InstallError
from sysmonlx.host.lock import daemon_pid
from sysmonlx.service import spawn
from sysmonlx.service.installed import Paths
from sysmonlx.service.keeper import PAUSES_S, READY_VARIABLE, KeeperWatch

REPOSITORY = Path(__file__).resolve().parents[3]
DEADLINE_S = 60

#: Modules that would make the keeper, which stays in memory, a good deal larger.
LARGE = {
    *("dataclasses", "inspect", "sysmonlx.policy", "ssl", "xmlschema", "lxml"),
    *("typing", "ctypes", "json", "threading", "subprocess"),
}

#: A daemon: it says "run PID REASON", then does one line of the file "todo" a start.
DAEMON = """
import os, signal, sys, time
from pathlib import Path
from sysmonlx.service import keeper, spawn, systemd
from sysmonlx.host.lock import PidFile
from sysmonlx.service.installed import Paths

top = Path(sys.argv[1])
keeper.PAUSES_S = (0.1, 0.2)
keeper.WATCHDOG_S, keeper.START_S = float(sys.argv[2]), float(sys.argv[3])

def look_late(self, _):
    keeper._Keeper._look = look
    os.waitid(os.P_PID, self._child, os.WEXITED | os.WNOWAIT)

look = keeper._Keeper._look
if sys.argv[4] == "True":
    keeper._Keeper._look = look_late

def say(*words):
    with open(top / "said", "a") as file:
        print(*words, file=file)

def heard(number, _):
    say("signal", number)
    if number == signal.SIGTERM:
        os._exit(0)

def run():
    say("run", os.getpid(), os.environ.pop(keeper.ENDED_VARIABLE, "-"))
    todo = (top / "todo").read_text().splitlines()
    (top / "todo").write_text("".join(line + "\\n" for line in todo[1:]))
    what = todo[0] if todo else "work"
    if what == "fail at once":
        spawn.tell_failure("no luck")
        return 12
    if what == "die at once":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang at once":
        time.sleep(600)
    if what == "start slowly":
        time.sleep(0.3)
    lock = PidFile(Paths(top).pid_file)
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, heard)
    say("ready", os.getpid())
    systemd.notify("READY=1")
    spawn.tell_ready({"missing": ["something"]})
    if what == "die when ready":
        os.kill(os.getpid(), signal.SIGKILL)
    reports = systemd.Reports()
    started = time.monotonic()
    while time.monotonic() - started < 600:
        if what == "end":
            return 0
        if what == "raise":
            raise RuntimeError("on purpose")
        if what != "hang":
            reports.beat()
        time.sleep(0.02)
    return 1

sys.exit(keeper.keep(Paths(top), run))
"""


class Kept:
    """A keeper below a directory, and what its daemons said."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.paths = Paths(top)
        self._script = top / "script.py"
        self._script.write_text(DAEMON)

    def start(
        self,
        *todo: str,
        watchdog_s: float = DEADLINE_S,
        start_s: float = DEADLINE_S,
        looks_late: bool = False,
    ) -> dict[str, Any]:
        """Start a keeper; return what it told first, {} when it ended.

        The limits are far away where no daemon is to hang: a busy machine may let one
        wait. A keeper that looks late has no processor until its first daemon ended.
        """
        (self.top / "todo").write_text("".join(f"{line}\n" for line in todo))
        reader, writer = os.pipe()
        environment = {
            **os.environ,
            READY_VARIABLE: str(writer),
            "PYTHONPATH": os.fspath(REPOSITORY),
        }
        environment.pop("NOTIFY_SOCKET", None)
        limits = str(watchdog_s), str(start_s), str(looks_late)
        command = [sys.executable, os.fspath(self._script), os.fspath(self.top)]
        with open(reader, "rb", buffering=0) as pipe:
            child = subprocess.Popen(
                [*command, *limits], env=environment, pass_fds=(writer,)
            )
            os.close(writer)
            data = b""
            while b"\n" not in data:
                assert select.select([pipe], [], [], DEADLINE_S)[0]
                part = pipe.read(65536)
                if not part:
                    break
                data += part
            child.wait(DEADLINE_S)
        return dict(json.loads(data.partition(b"\n")[0] or b"{}"))

    def said(self, word: str) -> list[list[str]]:
        """Return the words behind `word` of each such line."""
        path = self.top / "said"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split()[1:] for line in lines if line.split()[0] == word]

    @property
    def keeper(self) -> int:
        return daemon_pid(self.paths.keeper_file)

    @property
    def daemon(self) -> int:
        return daemon_pid(self.paths.pid_file)

    def has_ended(self) -> bool:
        return not self.keeper and not self.daemon


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    before = os.umask(0o077)
    made = Kept(tmp_path)
    try:
        yield made
    finally:
        os.umask(before)
        spawn.stop(made.paths, force=True)
        wait_until(made.has_ended)


def test_started_daemon_is_ready_and_is_no_child_of_ours(kept: Kept) -> None:
    assert kept.start() == {"missing": ["something"]}
    fields = Path(f"/proc/{kept.daemon}/stat").read_text().rpartition(") ")[2].split()
    assert int(fields[1]) == kept.keeper
    assert Path(f"/proc/{kept.keeper}/comm").read_text() == "sysmonlx-keeper\n"
    assert Path(f"/proc/{kept.daemon}/comm").read_text() == "sysmonlx\n"
    assert kept.said("run") == [[str(kept.daemon), "-"]]


@pytest.mark.parametrize(
    ("number", "how"),
    [(signal.SIGKILL, "by signal 9"), (signal.SIGSEGV, "by signal 11")],
)
def test_killed_daemon_is_started_again_and_told_why(
    kept: Kept, number: signal.Signals, how: str
) -> None:
    kept.start()
    first, keeper = kept.daemon, kept.keeper
    os.kill(first, number)
    wait_until(lambda: len(kept.said("ready")) == 2)
    assert kept.keeper == keeper
    assert kept.daemon not in (0, first)
    assert kept.said("run")[1] == [str(kept.daemon), "ended", *how.split()]


def test_daemon_that_ends_once_it_is_ready_is_started_again(kept: Kept) -> None:
    """Its keeper hears that it was ready after it knows that it has ended."""
    kept.start("die when ready", looks_late=True)
    wait_until(lambda: len(kept.said("ready")) == 2)
    assert kept.said("run")[1][1:] == ["ended", "by", "signal", "9"]


def test_daemon_that_raises_is_started_again(kept: Kept) -> None:
    kept.start("raise")
    wait_until(lambda: len(kept.said("ready")) == 2)
    assert kept.said("run")[1][1:] == ["ended", "with", "status", "1"]


def test_failing_starts_are_tried_for_ever_with_growing_pauses(kept: Kept) -> None:
    kept.start("work", "fail at once", "die at once", "fail at once", "die at once")
    os.kill(kept.daemon, signal.SIGKILL)
    wait_until(lambda: len(kept.said("ready")) == 2)
    assert len(kept.said("run")) == 6
    assert list(PAUSES_S) == sorted(PAUSES_S)
    assert (PAUSES_S[0], PAUSES_S[-1]) == (2, 30)


def test_daemon_that_hangs_is_ended_and_started_again(kept: Kept) -> None:
    kept.start("hang", watchdog_s=0.6)
    wait_until(lambda: len(kept.said("ready")) == 2)
    assert kept.said("run")[1][1:] == ["ended", "by", "signal", "9"]


def test_stopped_daemon_is_ended_and_started_again(kept: Kept) -> None:
    kept.start(watchdog_s=0.6)
    first = kept.daemon
    os.kill(first, signal.SIGSTOP)
    wait_until(lambda: kept.daemon not in (0, first))


def test_start_that_hangs_is_ended_and_tried_again(kept: Kept) -> None:
    kept.start("work", "hang at once", start_s=2.0)
    os.kill(kept.daemon, signal.SIGKILL)
    wait_until(lambda: len(kept.said("ready")) == 2)
    assert kept.said("run")[2][1:] == ["ended", "by", "signal", "9"]


def test_daemon_that_lives_long_is_left_alone(kept: Kept) -> None:
    kept.start(watchdog_s=1.2)
    first = kept.daemon
    deadline = time.monotonic() + 1.8  # half as much again as a silent one has
    while time.monotonic() < deadline:
        assert kept.daemon == first
        time.sleep(0.05)


def test_keeper_that_was_stopped_itself_ends_no_daemon(kept: Kept) -> None:
    kept.start(watchdog_s=1.0)
    first, keeper = kept.daemon, kept.keeper
    os.kill(keeper, signal.SIGSTOP)
    os.kill(first, signal.SIGSTOP)
    time.sleep(1.6)  # both are kept from running, as by a frozen container
    os.kill(first, signal.SIGCONT)
    os.kill(keeper, signal.SIGCONT)
    deadline = time.monotonic() + 1.2
    while time.monotonic() < deadline:
        assert kept.daemon == first
        time.sleep(0.05)


# --- ends


def test_orderly_end_is_an_end(kept: Kept) -> None:
    kept.start("end")
    wait_until(kept.has_ended)
    assert len(kept.said("run")) == 1
    assert not kept.paths.keeper_file.exists()
    assert not kept.paths.notify_socket.exists()


def test_daemon_that_is_terminated_is_not_started_again(kept: Kept) -> None:
    kept.start()
    os.kill(kept.daemon, signal.SIGTERM)
    wait_until(kept.has_ended)
    assert kept.said("signal") == [["15"]]
    assert len(kept.said("run")) == 1


def test_signals_are_passed_on(kept: Kept) -> None:
    kept.start()
    os.kill(kept.keeper, signal.SIGHUP)
    wait_until(lambda: kept.said("signal") == [["1"]])
    os.kill(kept.keeper, signal.SIGTERM)
    wait_until(kept.has_ended)
    assert kept.said("signal") == [["1"], ["15"]]


def test_hang_up_waits_for_a_daemon_that_only_starts(kept: Kept) -> None:
    kept.start("work", "start slowly")
    os.kill(kept.daemon, signal.SIGKILL)
    wait_until(lambda: len(kept.said("run")) == 2)
    os.kill(kept.keeper, signal.SIGHUP)
    wait_until(lambda: kept.said("signal") == [["1"]])
    assert len(kept.said("run")) == 2


def test_keeper_is_terminated_between_two_starts(kept: Kept) -> None:
    kept.start("work", "fail at once", "fail at once", "fail at once")
    os.kill(kept.daemon, signal.SIGKILL)
    wait_until(lambda: len(kept.said("run")) >= 2 and not kept.daemon)
    assert spawn.runs(kept.paths)
    assert spawn.stop(kept.paths)
    runs = len(kept.said("run"))
    assert kept.has_ended()
    assert not spawn.stop(kept.paths)
    assert len(kept.said("run")) == runs


def test_stop_ends_both(kept: Kept) -> None:
    kept.start()
    assert spawn.stop(kept.paths)
    assert kept.has_ended()
    assert len(kept.said("run")) == 1


def test_stop_by_force_leaves_nobody_that_starts(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "_STOP_TIMEOUT_S", 0.2)
    kept.start()
    os.kill(kept.daemon, signal.SIGSTOP)
    with pytest.raises(InstallError, match="does not end: use -u force"):
        spawn.stop(kept.paths)
    monkeypatch.setattr(spawn, "_STOP_TIMEOUT_S", 1.0)
    assert spawn.stop(kept.paths, force=True)
    assert kept.has_ended()
    assert len(kept.said("run")) == 1


def test_stop_by_force_ends_a_daemon_that_only_starts(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "_STOP_TIMEOUT_S", 0.2)
    kept.start("work", "hang at once")
    os.kill(kept.daemon, signal.SIGKILL)
    wait_until(lambda: len(kept.said("run")) == 2)
    starting = int(kept.said("run")[1][0])
    assert spawn.stop(kept.paths, force=True)
    wait_until(lambda: not Path(f"/proc/{starting}").exists())
    wait_until(kept.has_ended)


# --- the first start


def test_first_start_that_fails_is_told_and_not_tried_again(kept: Kept) -> None:
    assert kept.start("fail at once") == {"error": "no luck"}
    wait_until(kept.has_ended)
    assert len(kept.said("run")) == 1


def test_first_start_that_dies_is_told_with_the_signal(kept: Kept) -> None:
    assert kept.start("die at once") == {
        "error": "the daemon ended by signal 9 before it was ready"
    }
    wait_until(kept.has_ended)


def test_there_is_one_keeper(kept: Kept) -> None:
    kept.start()
    keeper, daemon = kept.keeper, kept.daemon
    assert kept.start() == {"error": f"sysmonlx runs already: process {daemon}"}
    assert (kept.keeper, kept.daemon) == (keeper, daemon)


def test_keeper_leaves_to_another_daemon(kept: Kept) -> None:
    """One that was started by hand meanwhile, in the foreground for example."""
    kept.start("work", *["fail at once"] * 1000)  # none that could be the first
    os.kill(kept.daemon, signal.SIGKILL)
    wait_until(lambda: len(kept.said("run")) >= 2)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        from sysmonlx.host.lock import PidFile

        PidFile(kept.paths.pid_file)
        os.write(writer, b"x")
        signal.pause()
        os._exit(0)
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    try:
        wait_until(lambda: not kept.keeper)
        assert kept.daemon == pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_pauses_are_bounded() -> None:
    assert all(after > before for before, after in itertools.pairwise(PAUSES_S))


def test_daemon_tells_that_its_keeper_has_ended(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    kept = {"NOTIFY_SOCKET": f"{paths.notify_socket}"}
    assert "sysmonlx-keeper has ended" in KeeperWatch(paths, kept).trouble()
    assert KeeperWatch(paths, {"NOTIFY_SOCKET": "/run/systemd/notify"}).trouble() == ""
    assert KeeperWatch(paths, {}).trouble() == ""


def test_keeper_imports_little() -> None:
    code = "import sys, sysmonlx.cli.main, daemon; print(*sys.modules)"
    words = [sys.executable, "-P", "-c", code]
    env = {**os.environ, "PYTHONPATH": os.fspath(REPOSITORY)}
    found = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    assert not LARGE & set(found.stdout.split())
