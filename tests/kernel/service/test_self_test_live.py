# SPDX-License-Identifier: MIT
"""`sysmonlx -selftest` against a daemon whose rules report nothing."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.running import REPOSITORY, Daemon, wait_until
from support.self_testing import NOTHING, self_test, step, take_off_cgroups

from sysmonlx.errors import ControlError
from sysmonlx.policy import SELF_TEST
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.selftest.act import Action, Scene, Tell
from sysmonlx.selftest.actions import ACTIONS
from sysmonlx.selftest.stage import Stage
from sysmonlx.service.passing import EVENTS_LIMIT

pytestmark = pytest.mark.kernel

WAYS = {
    3: {"TCP connected", "TCP accepted", "UDP sent", "UDP received"},
    11: {"made", "renamed"},
    17: {"named pipe", "socket"},
}
#: Fields of ours of which a self-test knows what they must say.
FIELDS = "<Fields>UserId,Reason,EffectiveUser,NamespacePid,GrandparentImage</Fields>"
#: Switched on, since there is an act for what it adds.
MEMORY = "<ExecutableMemory>true</ExecutableMemory>"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("root"), NOTHING, MEMORY + FIELDS, "") as made:
        yield made


def namespaces(pids: Sequence[str]) -> set[str]:
    """Return the namespaces of processes, as far as they are there."""
    found = set()
    for each in pids:
        for kind in ("mnt", "net", "pid_for_children"):
            with suppress(OSError):
                found.add(os.readlink(f"/proc/{each}/ns/{kind}"))
    return found


def runs(pid: str) -> bool:
    """Tell whether a process is there that has not ended: a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] != b"Z"
    except OSError:
        return False


def children() -> set[str]:
    return {*Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def test_each_event_is_made_and_seen_though_no_rule_wants_it(watched: Daemon) -> None:
    before = children(), Path("/proc/self/mounts").read_text()
    done = watched.told("-selftest", "json")
    report = json.loads(done.stdout)
    tried = [each for each in report["outcomes"] if each["verdict"] != "not tried"]
    assert [each for each in tried if each["why"] or each["unchecked"]] == []
    assert {(each["event_id"], each["way"]) for each in tried} == {
        (action.event_id, way)
        for action in ACTIONS
        if EVENT_BY_ID[action.event_id].produced
        for way in WAYS.get(action.event_id, {""})
    }
    assert (report["ok"], report["off_hooks"], report["troubles"]) == (True, [], [])
    assert (done.returncode, done.stderr) == (0, "")
    assert (children(), Path("/proc/self/mounts").read_text()) == before
    reported = [e["EventID"] for e in watched.events() if e.get("RuleName")]
    assert sorted(reported) == sorted(str(each["event_id"]) for each in tried)
    assert {e["RuleName"] for e in watched.events() if "RuleName" in e} == {SELF_TEST}


def test_nobody_passes_behind_it(watched: Daemon) -> None:
    self_test(watched, [action for action in ACTIONS if action.event_id == 11])
    records = watched.stats()["records"]["file_create"]["filtered_in_kernel"]
    subprocess.run(["/usr/bin/touch", os.fspath(watched.root / "file")], check=True)
    after = watched.stats()["records"]["file_create"]["filtered_in_kernel"]
    assert after > records
    with pytest.raises(ControlError, match=r"not under way\. It has ended"):
        step(watched, {"do": "selftest", "step": "events", "token": "0"})


@contextmanager
def begun(daemon: Daemon) -> Iterator[str]:
    """Yield the token of a self-test of this process that is under way."""
    token = str(step(daemon, {"do": "selftest", "step": "begin"})["token"])
    try:
        yield token
    finally:
        with suppress(ControlError):
            step(daemon, {"do": "selftest", "step": "end", "token": token})


def name(daemon: Daemon, token: str, *processes: tuple[int, int, bool]) -> set[str]:
    """Let processes pass; return their ProcessGuids."""
    answer = step(
        daemon,
        {"do": "selftest", "step": "pass", "token": token, "processes": processes},
    )
    guids = answer["guids"]
    assert isinstance(guids, list)
    return {*guids}


def crash(scene: Scene, tell: Tell) -> None:
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(scene: Scene, tell: Tell) -> None:
    time.sleep(60)


def say_nothing_happened(scene: Scene, tell: Tell) -> None:
    tell("", {"TargetFilename": "/nowhere"})


def test_act_that_crashes_or_hangs_or_fails_keeps_no_other_back(
    watched: Daemon,
) -> None:
    before = children()
    named = [Action(11, crash), Action(23, hang), Action(26, say_nothing_happened)]
    named += [action for action in ACTIONS if action.event_id == 1]
    result = self_test(watched, named)
    made = [each for each in result.outcomes if each.event_id in (1, 11, 23, 26)]
    assert [(each.verdict.value, each.why) for each in made[:3]] == [
        ("seen", ()),
        ("not tried", ("its process was ended by SIGSEGV",)),
        ("not tried", ("the act took too long",)),
    ]
    assert made[3].verdict.value == "not seen"
    assert not result.is_good
    assert children() == before


def lie(scene: Scene, tell: Tell) -> None:
    path = f"{scene.directory}/true"
    os.close(os.open(path, os.O_CREAT))
    tell("", {"TargetFilename": f"{scene.directory}/other", "Reason": "Create"})


def test_field_that_is_another_is_named(watched: Daemon) -> None:
    (outcome,) = (
        each
        for each in self_test(watched, [Action(11, lie)]).outcomes
        if each.event_id == 11
    )
    (why,) = outcome.why
    assert outcome.verdict.value == "wrong"
    assert why.startswith("TargetFilename is ")
    assert why.endswith('/other"')


def many(scene: Scene, tell: Tell) -> None:
    """Make more files than may pass, a connection, and a file in a child."""
    for number in range(EVENTS_LIMIT + 4):
        os.close(os.open(f"{scene.directory}/{number}", os.O_CREAT))
        tell("", {"TargetFilename": f"{scene.directory}/{number}"})
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    if not (child := os.fork()):
        os.close(os.open(f"{scene.directory}/of-a-child", os.O_CREAT))
        os._exit(0)
    os.waitpid(child, 0)


def test_nothing_passes_but_what_was_named(watched: Daemon) -> None:
    """Other events of a named process, more than the limit, its children: none."""
    begin = len(watched.settle())
    self_test(watched, [Action(11, many)], wait_s=0.5)
    passed = watched.settle()[begin:]
    ids = [each["EventID"] for each in passed if "/bin/true" not in str(each)]
    assert ids == ["11"] * EVENTS_LIMIT


def test_process_that_calls_itself_a_self_test_does_not_pass(watched: Daemon) -> None:
    """With its name, arguments, environment, path and namespaces: none is asked."""
    with (
        begun(watched) as token,
        Stage(ACTIONS, [], 0) as named,
        Stage(ACTIONS, [], 0) as copy,
    ):
        guids = name(watched, token, *((each.pid, 11, False) for each in named.actors))
        copy.act()
        named.act()
        wait_until(lambda: bool(seen(watched, token)))
        watched.settle()
        assert seen(watched, token) < guids


def seen(daemon: Daemon, token: str) -> set[str]:
    """Return the ProcessGuids of the events that have passed."""
    answer = step(daemon, {"do": "selftest", "step": "events", "token": token})
    events = answer["events"]
    assert isinstance(events, list)
    return {event["ProcessGuid"] for _, event in events}


def test_process_of_somebody_else_cannot_be_named(watched: Daemon) -> None:
    with begun(watched) as token:
        for pid in (1, os.getppid(), os.getpid(), 1 << 22):
            with pytest.raises(ControlError, match="no descendant"):
                name(watched, token, (pid, 11, False))
        with pytest.raises(ControlError, match="No event 255 passes"):
            name(watched, token, (os.getpid(), 255, False))


def test_second_self_test_at_once_is_told_who_has_the_first(watched: Daemon) -> None:
    with begun(watched):
        done = watched.told("-nologo", "-selftest")
    assert (done.returncode, done.stdout) == (87, "")
    expected = f"Error: Process {os.getpid()} has a self-test under way: try again in "
    assert done.stderr.startswith(expected)


def test_self_test_of_a_process_that_has_ended_is_over(watched: Daemon) -> None:
    code = (
        "import sys; from pathlib import Path; from sysmonlx.service import control;"
        "control.request(Path(sys.argv[1]), {'do': 'selftest', 'step': 'begin'})"
    )
    path = os.fspath(watched.paths.control_socket)
    command = [sys.executable, "-c", code, path]
    subprocess.run(command, env=watched.environment, check=True)
    watched.settle()
    with begun(watched):
        pass


def test_another_configuration_ends_it(watched: Daemon) -> None:
    with begun(watched) as token:
        watched.request(do="reload", policy=watched.paths.policy_file.read_text())
        with pytest.raises(ControlError, match="Another configuration came into force"):
            step(watched, {"do": "selftest", "step": "events", "token": token})
    assert self_test(watched).is_good


PLAY = """
import sys, time
from sysmonlx.selftest.actions import ACTIONS
from sysmonlx.selftest.stage import Stage
with Stage(ACTIONS, [], 0) as stage:
    print(stage.pid, stage.target, *(each.pid for each in stage.actors), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_all_ends_with_the_tool(number: signal.Signals) -> None:
    """Whatever ends it, no process, namespace, mount or file is left."""
    tool = subprocess.Popen(
        [sys.executable, "-c", PLAY],
        env={**os.environ, "PYTHONPATH": os.fspath(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert tool.stdout is not None
    pids = tool.stdout.readline().split()
    own = namespaces(pids) - namespaces(["self"])
    assert len(own) == 3
    tool.send_signal(number)
    tool.wait()
    tool.stdout.close()
    wait_until(lambda: not any(map(runs, pids)), 10)
    assert not own & namespaces(os.listdir("/proc"))


def test_without_a_service_it_says_what_to_do(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, NOTHING, "", "")
    done = daemon.told("-nologo", "-selftest")
    assert (done.returncode, done.stdout) == (87, "")
    assert done.stderr == (
        "Error: Sysmon is not running, so there is nothing to test: "
        "'sysmonlx -i' installs and starts it.\n"
    )


INTERRUPTED = """
import sys, time
from sysmonlx.cli import main, self_testing
from sysmonlx.selftest.act import Action
from sysmonlx.selftest.run import run

def hang(scene, tell):
    time.sleep(60)

print(flush=True)
self_testing.run = lambda ask: run(ask, [Action(11, hang)])
sys.exit(main.main(["-nologo", "-selftest"]))
"""


def test_interrupt_ends_it_without_a_word(watched: Daemon) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        env=watched.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tool:
        assert tool.stdout is not None
        tool.stdout.readline()
        wait_until(
            lambda: bool(Path(f"/proc/{tool.pid}/task/{tool.pid}/children").read_text())
        )
        tool.send_signal(signal.SIGINT)
        assert (*tool.communicate(), tool.returncode) == ("", "", 130)
    with begun(watched):
        pass


def test_user_cannot_ask_for_one(watched: Daemon) -> None:
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX);"
        "sys.exit(s.connect_ex(sys.argv[1]))"
    )
    path = os.fspath(watched.paths.control_socket)
    command = ["/usr/bin/python3", "-c", code, path]
    done = subprocess.run(command, user=65534, check=False, cwd="/")
    assert done.returncode == errno.EACCES


def test_program_that_was_taken_off_is_named(watched: Daemon) -> None:
    """Unless the daemon was faster, which puts it back every other second."""
    action = [each for each in ACTIONS if each.event_id == 22]
    for _ in range(5):
        take_off_cgroups(watched)
        result = self_test(watched, action, wait_s=0.3)
        (outcome,) = (each for each in result.outcomes if each.event_id == 22)
        if "dns_sent" in result.off:
            break
    assert outcome.verdict.value == "not seen"
    assert outcome.why[0].startswith("off its hook: ")
    assert not result.is_good
