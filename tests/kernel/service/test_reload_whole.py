# SPDX-License-Identifier: MIT
"""An update of the rules is whole or has not happened, wherever it fails.

The daemon runs in this very process, where a failure can be put into any call.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from support.manyrules import many_conditions
from support.running import wait_until

from sysmonlx.bpf.object_info import map_info
from sysmonlx.config.child import read_data
from sysmonlx.config.command_line import CommandLineOptions
from sysmonlx.config.stored_policy import policy_of
from sysmonlx.errors import SysmonlxError
from sysmonlx.service import rereading
from sysmonlx.service.control import PEER, Later, Message
from sysmonlx.service.daemon import Daemon, start
from sysmonlx.service.installed import Paths
from sysmonlx.service.reload import Reload
from sysmonlx.service.wiring import Options

pytestmark = pytest.mark.kernel

#: Of a policy as JSON: the default, which stands for that of each sink.
LIMIT = '"line_limit_bytes":0'
#: Calls made by `Reload.put` and by what it calls are failed, one at a time.
DEPTH = 3
#: What an update may take of the main loop at a time, in seconds.
AWAY_S = 0.1
RULES = """
    <ProcessCreate onmatch="include">
      <Image name="{name}" condition="end with">/true</Image>
    </ProcessCreate>
    <ProcessTerminate onmatch="include"/>
"""
#: Wants programs of every family of events.
EVERYTHING = "".join(
    f'<{event} onmatch="exclude"/>'
    for event in (
        *("NetworkConnect", "RawAccessRead", "ProcessAccess", "FileCreate"),
        *("FileDelete", "FileDeleteDetected", "eBPFEvent"),
    )
)
FILES = """
    <FileCreate onmatch="include">
      <TargetFilename condition="contains">{name}</TargetFilename>
    </FileCreate>
"""


#: Builtin functions by which Python asks file systems, and starts programs.
FILE_CALLS = frozenset(
    (
        *("open", "stat", "lstat", "access", "readlink", "listdir", "scandir"),
        *("statvfs", "rename", "replace", "link", "symlink", "unlink", "remove"),
        *("mkdir", "rmdir", "mknod", "fsync", "fdatasync", "truncate", "ftruncate"),
        *("chmod", "chown", "utime", "fork_exec", "posix_spawn"),
    )
)
#: Modules that read files of the kernel alone: below /proc and /sys.
KERNEL_ALONE = (
    *("bpf/side_band", "capture/kernel_facts", "host/procfs", "host/surroundings"),
    *("service/statistics", "capture/sensor"),
)
#: What an open file is called, and what modules of `KERNEL_ALONE` do.
ASK_NOBODY = {("sysmonlx/output/sinks/file.py", "readlink")} | {
    (f"sysmonlx/{module}.py", call)
    for module in KERNEL_ALONE
    for call in ("open", "stat", "readlink", "listdir")
}


class InjectedError(Exception):
    """A failure that nobody expects."""


class Running:
    """A daemon in this process, with two policies to swap."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root)
        self.paths.create_private()
        self.log = root / "before.json"
        self.away_s = 0.0
        """Processor time of the last update at most without a look at the ring."""
        self.before = self.policy("before", "")
        self.after = self.policy("after", FILES.format(name="after"))
        self.paths.write(self.paths.policy_file, self.before["policy"].encode())
        self.paths.write(self.paths.config_file, b"before")
        self.paths.write(self.paths.command_line_file, b"before\0")
        policy = policy_of(self.before["policy"])
        options = Options(self.paths, drops_capabilities=False)
        self.daemon = start(policy, options)
        self.put(self.policy("everything", EVERYTHING))
        self.away_to_load_s = self.away_s
        """The same of the update that all programs were loaded for; they stay so."""
        self.put(self.before)

    def policy(self, name: str, more: str) -> dict[str, str]:
        log = self.log.with_name(f"{name}.json")
        text = (
            '<Sysmon schemaversion="4.90"><EventFiltering>'
            f"{RULES.format(name=name)}{more}</EventFiltering>"
            '<Settings xmlns="urn:sysmonlx:settings">'
            f'<Sink kind="file" form="json">{log}</Sink><Budget>0</Budget>'
            "</Settings></Sysmon>"
        )
        policy = read_data(text.encode(), name, CommandLineOptions()).policy
        assert policy is not None
        return {"policy": policy.to_json(), "config": name, "command_line": f"{name}\0"}

    def put(self, request: dict[str, str]) -> Message:
        gc.disable()  # as `Daemon.run` does: the objects of all tests are not its own
        try:
            return self._put(request)
        finally:
            gc.enable()

    def _put(self, request: dict[str, str]) -> Message:
        start_s = time.thread_time()
        later = self.daemon.requests.answer({"do": "reload", **request})
        assert isinstance(later, Later)
        answers: list[Message] = []
        later.bind(lambda make: answers.append(make()))
        self.away_s = time.thread_time() - start_s
        while not answers:
            start_s = time.thread_time()
            self.daemon.loop.wait(1)
            self.away_s = max(self.away_s, time.thread_time() - start_s)
        return answers[0]

    def files(self) -> list[str]:
        """Return the files that there are when the thread that stores has ended."""
        directories = (self.paths.config_dir, self.paths.state_dir)

        def names() -> list[str]:
            return sorted(name for each in directories for name in os.listdir(each))

        wait_until(lambda: not any(each.startswith(".") for each in names()))
        return names()

    def names(self, log: Path) -> list[str]:
        """Return the rules that reported a program which runs now."""
        marker = uuid.uuid4().hex
        subprocess.run(["/bin/true", marker], check=True)

        def has_ended() -> bool:
            self.daemon.reader.work()
            self.daemon.parts.pipeline.take_hashes()
            self.daemon.parts.output.flush()
            fill = self.daemon.parts.capture.ring.fill()
            return not fill and not self.daemon.parts.pipeline.held

        wait_until(has_ended)
        events = [json.loads(line)["Event"] for line in log.read_text().splitlines()]
        return [
            event["EventData"]["RuleName"]
            for event in events
            if marker in event["EventData"].get("CommandLine", "")
        ]

    def reports(self) -> int:
        """Return how many events 255 there were."""
        return self.daemon.parts.output.counts[255]

    def state(self) -> dict[str, Any]:
        """Return everything that an update changes."""
        daemon, paths = self.daemon, self.paths
        variables = daemon.parts.capture.btf.variables(".bss")
        memory = daemon.parts.capture.maps[".bss"].lookup(bytes(4))
        files = self.files()
        names = (
            "wanted_records",
            "truncation_as_create",
            "write_as_create",
            "mass_change_files",
            "executable_memory",
            "failed_connects",
        )
        return {
            "policy": daemon.standing.policy,
            "attached": daemon.parts.capture.attached(),
            "missing": daemon.standing.missing(),
            "variables": {
                name: variable.read(memory)
                for name, variable in variables.items()
                if name in names
            },
            "rules in the kernel": kernel_rules(daemon),
            "reasons": dict(daemon.parts.filter.reasons),
            "stored": [
                path.read_bytes()
                for path in (
                    paths.policy_file,
                    paths.config_file,
                    paths.command_line_file,
                )
            ],
            "files": files,
            "sinks": [id(channel.sink) for channel in daemon.parts.output._channels],
            "judging": daemon.parts.pipeline._judging,
            "hashes": (daemon.parts.hasher.wait_s, daemon.parts.hasher.size_limit),
            "descriptors": len(os.listdir("/proc/self/fd")),
        }


def kernel_rules(daemon: Daemon) -> int:
    """Return the id of the map with the rules that the kernel asks."""
    try:
        found = daemon.parts.capture.maps["filter_rules"].lookup(bytes(4))
    except SysmonlxError:
        return 0
    return int(struct.unpack("=I", found[:4])[0])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    root = tmp_path_factory.mktemp("root")
    root.chmod(0o700)
    made = Running(root)
    yield made
    made.daemon.close()
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def failing(at: int) -> Iterator[Callable[[], int]]:
    """Fail call number `at` of an update; yield how many calls there were."""
    count = depth = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count, depth
        if frame.f_code is Reload.put.__code__:
            depth = 1
            return inside
        if not depth or depth > DEPTH or "sysmonlx" not in frame.f_code.co_filename:
            return None
        count += 1
        if count == at:
            raise InjectedError(f"in {frame.f_code.co_qualname}")
        depth += 1
        return inside

    def inside(_: FrameType, event: str, __: object) -> Any:
        nonlocal depth
        if event == "return":
            depth -= 1
        return inside

    sys.settrace(trace)
    try:
        yield lambda: count
    finally:
        sys.settrace(None)


def test_update_that_fails_at_any_call_has_not_happened(running: Running) -> None:
    before = running.state()
    with failing(0) as calls:
        running.put(running.after)
    assert calls() > 40
    after = running.state()
    assert running.names(running.log.with_name("after.json")) == ["after"]
    running.put(running.before)
    assert without(running.state()) == without(before)
    undone, count_of_reports = 0, running.reports()
    for at in range(1, calls() + 1):
        before = running.state()
        try:
            with failing(at):
                running.put(running.after)
        except InjectedError:
            undone += 1
            assert running.state() == before, at
            if at % 10 == 1:
                assert running.names(running.log) == ["before"], at
        else:  # what was left of the policy before could not be cleared away
            for name in ("policy", "stored", "reasons", "hashes"):
                assert running.state()[name] == after[name], (at, name)
            running.put(running.before)
            assert running.reports() == count_of_reports + 1, at
        count_of_reports = running.reports()
    assert undone > 30
    assert running.names(running.log) == ["before"]


def without(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state without what each update makes anew."""
    new = ("rules in the kernel", "sinks", "judging")
    return {name: value for name, value in state.items() if name not in new}


def test_update_that_is_refused_says_why_and_lists_the_old_rules(
    running: Running,
) -> None:
    before = running.state()
    for message, reason in (
        ({"policy": "{}"}, "The request is malformed: ValueError: KeyError"),
        ({"policy": "[" * 100_000}, "The request is malformed: ValueError: nested"),
        ({}, "The request is malformed: KeyError"),
        (
            {"policy": running.after["policy"].replace(LIMIT, f"{LIMIT[:-1]}7")},
            "LineLimit is 7",
        ),
    ):
        with pytest.raises((SysmonlxError, ValueError), match=reason):
            running.put(message)
        assert running.state() == before
    assert running.names(running.log) == ["before"]


def test_file_system_that_fails_at_first_undoes_all(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, synced = os.fsync, []

    def fail(fd: int) -> None:
        synced.append(fd)
        if len(synced) == 2:
            raise OSError(5, "Input/output error")
        fsync(fd)

    before = running.state()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SysmonlxError, match="Input/output error"):
        running.put(running.after)
    monkeypatch.undo()
    assert len(synced) == 2
    assert running.state() == before
    assert running.names(running.log) == ["before"]


def test_file_system_that_fails_at_the_end_has_one_whole_policy_and_is_told(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules that are in force are not taken back then: their files were written."""
    rename, renamed = os.rename, []

    def fail(*names: Any, **where: Any) -> None:
        renamed.append(names)
        if len(renamed) == 2:
            raise OSError(5, "Input/output error")
        rename(*names, **where)

    before, count_of_reports = running.state(), running.reports()
    monkeypatch.setattr(os, "rename", fail)
    answer = running.put(running.after)
    monkeypatch.undo()
    assert len(renamed) == 3
    assert "not stored yet" in str(answer["trouble"])
    assert "Input/output error" in str(answer["trouble"])
    for what in ("stored", "files"):
        assert running.state()[what] == before[what]
    assert running.names(running.log.with_name("after.json")) == ["after"]
    asked = running.daemon.requests.answer({"do": "policy"})
    assert asked == {"policy": running.after["policy"]}
    running.daemon.chores.do_all()
    assert running.reports() == count_of_reports + 1
    assert running.put(running.before)["trouble"] == []
    running.daemon.chores.do_all()
    assert running.reports() == count_of_reports + 2
    assert running.daemon.requests.answer({"do": "policy"}) == {"policy": ""}


@contextmanager
def file_calls() -> Iterator[set[tuple[str, str]]]:
    """Yield the calls of files that this thread makes, by the module they are from."""
    found: set[tuple[str, str]] = set()
    repository = Path(__file__).resolve().parents[3]

    def note(frame: FrameType | None, event: str, called: Any) -> None:
        if event != "c_call" or called.__name__ not in FILE_CALLS:
            return
        if called.__module__ is None:  # a method, as `remove` of a list
            return
        while frame and "/sysmonlx/" not in frame.f_code.co_filename:
            frame = frame.f_back
        if frame:
            module = Path(frame.f_code.co_filename).relative_to(repository)
            found.add((str(module), called.__name__))

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


def test_thread_of_the_events_asks_no_file_system(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What -c, -stats, -selftest, SIGHUP and each second make it do."""
    daemon, started = running.daemon, list[subprocess.Popen[bytes]]()

    def run_again(*_: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["/bin/true"]))
        return started[-1]

    monkeypatch.setattr(rereading, "run_again", run_again)
    with file_calls() as found:
        running.put(running.policy("everything", EVERYTHING))
        running.put(running.before)
        for what in ("stats", "pid", "policy", "missing", "reopen", "refuse"):
            daemon.requests.answer({"do": what, "reason": "on purpose"})
        daemon.requests.answer({"do": "selftest", "step": "begin", PEER: os.getpid()})
        running.paths.config_file.write_bytes(b"edited")
        os.kill(os.getpid(), signal.SIGHUP)
        while not started:
            running.names(running.log)
            daemon.chores.do_all()
            daemon.loop.wait(0.1)
        daemon.loop.wait(0.1)
        running.put(running.before)
    by_the_test = {"tests/kernel/service/test_reload_whole.py"}
    of_the_service = {each for each in found if each[0] not in by_the_test}
    assert of_the_service <= ASK_NOBODY


def test_large_update_does_not_keep_the_reader_away(running: Running) -> None:
    """Its time counts, not that of others who have the processor meanwhile."""
    large = [running.policy("before", many_conditions(seed)) for seed in (1, 2)]
    running.put(large[0])
    away_s = []
    for number in range(1, 6):
        running.put(large[number % 2])
        away_s.append(running.away_s)
        running.daemon.reader.work()
    running.put(running.before)
    assert min(away_s) < AWAY_S, away_s


#: The daemon of this test has a process of its own, as daemons have. In the large
#: process of a whole run of the tests one turn took 0.3 s.
LOADS = """
import sys
from pathlib import Path
from kernel.service.test_reload_whole import Running
running = Running(Path(sys.argv[1]))
print(running.away_to_load_s)
running.daemon.close()
"""


def test_programs_not_loaded_yet_do_not_keep_the_reader_away(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    repository = Path(__file__).resolve().parents[3]
    result = subprocess.run(
        [sys.executable, "-c", LOADS, os.fspath(root)],
        env={**os.environ, "PYTHONPATH": f"{repository}:{repository / 'tests'}"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert float(result.stdout) < AWAY_S


def test_map_is_known_by_its_id(running: Running) -> None:
    """The check of the kernel's rules can see a difference."""
    running.put(running.after)
    one = kernel_rules(running.daemon)
    running.put(running.before)
    assert one
    assert kernel_rules(running.daemon) != one
    assert (
        map_info(running.daemon.parts.capture.maps["filter_rules"].fd).max_entries == 1
    )
