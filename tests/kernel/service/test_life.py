# SPDX-License-Identifier: MIT
"""From installation to removal: what a user may rely on, with the real program."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest
from support.installed import (
    Installation,
    daemons_below,
    end_of,
    is_alive,
    stored,
)
from support.running import DEADLINE_S, wait_until

from sysmonlx.host import capabilities
from sysmonlx.schema.events import SCHEMA_VERSION

pytestmark = pytest.mark.kernel

ONLY_TERMINATE = """
    <ProcessCreate onmatch="include"/>
    <ProcessTerminate onmatch="exclude"/>
"""


# --- -i


def test_install_returns_when_everything_is_captured(place: Installation) -> None:
    result = place.call("-accepteula", "-i", os.fspath(place.config))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == (
        f"sysmonlx started. Now in force: {place.config} (2 event rules)."
    )
    place.follow()
    pid, events = place.run(["/bin/true", "first"])
    kinds = [event["EventID"] for event in events]
    assert (kinds, events[0]["CommandLine"]) == (["1", "5"], "/bin/true first")
    assert int(events[0]["ProcessId"]) == pid


def test_first_events_are_configuration_and_start(installed: Installation) -> None:
    digest = hashlib.sha256(installed.config.read_bytes()).hexdigest()
    installed.wait_for(lambda event: event.get("State") == "Started")
    first, second = installed.events()[:2]
    assert (first["EventID"], first["Configuration"]) == ("16", str(installed.config))
    assert first["ConfigurationFileHash"] == f"SHA256={digest}"
    assert (second["EventID"], second["SchemaVersion"]) == ("4", SCHEMA_VERSION)
    assert [first["EventRecordID"], second["EventRecordID"]] == ["0", "1"]


def test_daemon_is_detached_from_whoever_started_it(place: Installation) -> None:
    inherited = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    command = [*place.command("-i", os.fspath(place.config))]
    subprocess.run(
        command,
        env={**place.environment, "NOTIFY_SOCKET": "/nowhere"},
        stdout=subprocess.PIPE,
        close_fds=False,
        check=True,
    )
    os.close(inherited)
    proc = Path(f"/proc/{place.pid}")
    links = {int(fd.name): os.readlink(fd) for fd in (proc / "fd").iterdir()}
    assert [links[fd] for fd in (0, 1, 2)] == ["/dev/null"] * 3
    assert "/etc/passwd" not in links.values()
    assert os.readlink(proc / "cwd") == "/"
    assert "Umask:\t0077" in (proc / "status").read_text()
    fields = (proc / "stat").read_text().rpartition(") ")[2].split()
    parent, session, terminal = fields[1], fields[3], fields[4]
    assert int(session) not in (os.getsid(0), place.pid)
    assert terminal == "0"
    assert int(parent) != os.getpid()


def test_daemon_keeps_the_capabilities_it_needs_and_no_other(
    installed: Installation,
) -> None:
    status = Path(f"/proc/{installed.pid}/status").read_text()
    lines = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    kept = sum(1 << number for number in capabilities.KEPT)
    assert [int(lines[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")] == (
        [kept] * 3
    )
    assert [int(lines[name], 16) for name in ("CapInh", "CapAmb")] == [0, 0]
    assert lines["NoNewPrivs"].strip() == "1"


def test_state_and_socket_are_for_root_alone(installed: Installation) -> None:
    paths = installed.paths
    for directory in (paths.config_dir, paths.state_dir, paths.run_dir):
        found = directory.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o700, 0)
        for path in directory.iterdir():
            found = path.lstat()
            assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, 0), path
    assert paths.control_socket.is_socket()


def test_second_install_replaces_the_daemon_and_numbers_go_on(
    installed: Installation,
) -> None:
    first = installed.pid
    installed.install()
    assert not is_alive(first)
    assert daemons_below(installed.root) == [installed.pid]
    installed.settle()
    assert installed.states() == ["Started", "Stopped", "Started"]
    numbers = [int(each["EventRecordID"]) for each in installed.events()]
    assert numbers == list(range(len(numbers)))


def test_installations_at_the_same_time_leave_one_daemon(place: Installation) -> None:
    calls = [
        subprocess.Popen(
            place.command("-i", os.fspath(place.config)),
            env=place.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    answers = [
        (call.communicate(timeout=DEADLINE_S)[1], call.returncode) for call in calls
    ]
    assert answers == [(b"", 0)] * 3
    wait_until(lambda: daemons_below(place.root) == [place.pid])


def test_daemon_that_does_not_answer_is_replaced(installed: Installation) -> None:
    first = installed.pid
    os.kill(first, signal.SIGSTOP)
    installed.install()
    assert not is_alive(first)
    assert daemons_below(installed.root) == [installed.pid]


def test_service_refuses_to_run_twice(installed: Installation) -> None:
    result = installed.call("-service")
    assert result.returncode == 12
    assert result.stdout == ""
    assert f"sysmonlx runs already: process {installed.pid}" in result.stderr
    assert daemons_below(installed.root) == [installed.pid]


def test_service_started_by_hand_returns_when_it_captures(
    installed: Installation,
) -> None:
    installed.terminate()
    result = installed.call("-service")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    installed.follow()
    assert installed.run(["/bin/true", "at-once"])[1]
    assert len(installed.configurations()) == 2


def test_capture_that_cannot_start_is_an_error_with_its_reason(
    place: Installation, tmp_path: Path
) -> None:
    wrong = tmp_path / "no.btf"
    wrong.write_bytes(b"this is no BTF")
    result = place.call("-i", os.fspath(place.config), "-btf", os.fspath(wrong))
    assert result.returncode == 12
    (line,) = result.stderr.splitlines()
    assert line.startswith("Telemetry failed to start: ")
    assert "BTF" in line
    assert (place.pid, stored(place.paths)) == (0, {})
    assert daemons_below(place.root) == []


def test_failed_install_leaves_what_ran_before(
    installed: Installation, tmp_path: Path
) -> None:
    before = stored(installed.paths)
    wrong = tmp_path / "no.btf"
    wrong.write_bytes(b"this is no BTF")
    result = installed.call("-i", "-btf", os.fspath(wrong))
    assert result.returncode == 12
    assert "what ran before runs again" in result.stderr
    installed.follow()
    installed.settle()
    assert stored(installed.paths) == before
    assert {name for name, _ in installed.configurations()} == {str(installed.config)}


def test_bad_configuration_changes_nothing(
    installed: Installation, tmp_path: Path
) -> None:
    before, pid = stored(installed.paths), installed.pid
    bad = tmp_path / "bad.xml"
    bad.write_text("<Sysmon schemaversion='4.90'><EventFiltering><Nope/>")
    for switch in ("-i", "-c"):
        result = installed.call(switch, os.fspath(bad))
        assert result.returncode == 87
    assert (stored(installed.paths), installed.pid) == (before, pid)
    installed.settle()
    assert len(installed.configurations()) == 1


def test_install_without_file_uses_the_defaults(place: Installation) -> None:
    assert place.call("-i").returncode == 0
    assert place.call("-c").stdout == "No rules installed\n"
    assert place.stats()["events"]["16"]["emitted"] == 1


@pytest.mark.parametrize("switch", ["-c", "-i"])
def test_configuration_may_come_from_a_pipe(
    installed: Installation, switch: str
) -> None:
    data = installed.config.read_bytes() + b"<!-- piped -->"
    command = installed.command(switch, "/dev/stdin")
    subprocess.run(command, env=installed.environment, input=data, check=True)
    assert installed.paths.config_file.read_bytes() == data
    digest = hashlib.sha256(data).hexdigest()
    installed.follow()
    installed.settle()
    assert installed.configurations()[-1] == ("/dev/stdin", f"SHA256={digest}")


@pytest.mark.parametrize(
    "name", ["json.py", "sysmonlx/__init__.py", "daemon.py", "host.py"]
)
def test_modules_in_the_current_directory_are_never_loaded(
    place: Installation, tmp_path: Path, name: str
) -> None:
    hostile = tmp_path / "hostile"
    proof = tmp_path / "loaded"
    (hostile / name).parent.mkdir(parents=True)
    (hostile / name).write_text(f"open({str(proof)!r}, 'w')")
    assert place.call("-i", os.fspath(place.config), cwd=hostile).returncode == 0
    place.config.write_text(place.config.read_text() + "\n")
    assert place.call("-c", os.fspath(place.config), cwd=hostile).returncode == 0
    place.paths.config_file.write_text(place.config.read_text() + "\n")
    os.kill(place.pid, signal.SIGHUP)
    place.follow()
    wait_until(lambda: len(place.configurations()) == 3)
    assert place.call("-u", cwd=hostile).returncode == 0
    assert not proof.exists()


# --- stop, restart


def test_terminated_daemon_writes_everything_and_ends_within_two_seconds(
    installed: Installation,
) -> None:
    times_s: list[float] = []
    while len(times_s) < 3 and min(times_s, default=60.0) >= 2:  # it may be busy once
        if times_s:
            installed.install()
        for number in range(200):
            subprocess.run(["/bin/true", f"last-{number}"], check=True)
        started_s, pid = time.monotonic(), installed.pid
        os.kill(pid, signal.SIGTERM)
        assert end_of(pid)
        times_s.append(time.monotonic() - started_s)
    assert min(times_s) < 2
    events = installed.events()
    assert events[-1].get("State") == "Stopped"
    seen = {each.get("CommandLine") for each in events}
    assert {f"/bin/true last-{number}" for number in range(200)} <= seen
    assert not installed.paths.pid_file.exists()
    assert not installed.paths.control_socket.exists()


def test_killed_daemon_leaves_nothing_that_blocks_the_next_start(
    installed: Installation,
) -> None:
    for pid in (installed.keeper, installed.pid):
        os.kill(pid, signal.SIGKILL)
        assert end_of(pid)
    assert installed.paths.control_socket.exists()
    assert installed.call("-c").stdout == (
        "Error: Sysmon is installed and does not run: -service starts it\n"
    )
    installed.install()
    installed.settle()
    assert daemons_below(installed.root) == [installed.pid]
    numbers = [int(each["EventRecordID"]) for each in installed.events()]
    assert numbers == sorted(set(numbers))


def test_pid_file_of_the_dead_names_no_stranger(installed: Installation) -> None:
    for pid in (installed.keeper, installed.pid):
        os.kill(pid, signal.SIGKILL)
        assert end_of(pid)
    with subprocess.Popen(["/bin/sleep", "60"]) as stranger:
        installed.paths.pid_file.write_text(f"{stranger.pid}\n")
        assert installed.call("-u", "force").returncode == 0
        assert stranger.poll() is None
        stranger.kill()


def start_service(place: Installation) -> subprocess.Popen[bytes]:
    """Start as a service manager does, which wants the process itself."""
    environment = {**place.environment, "NOTIFY_SOCKET": "@nobody"}
    return subprocess.Popen(place.command("-service"), env=environment)


def _has_more_states(installed: Installation, count: int) -> bool:
    return len(installed.states()) > count


def test_start_from_the_stored_policy_is_quick(installed: Installation) -> None:
    assert installed.call("-stats").returncode == 0
    installed.terminate()
    times: list[float] = []
    while len(times) < 5 and min(times, default=60.0) >= 1.0:
        count = len(installed.states())
        started = time.monotonic()
        service = start_service(installed)
        wait_until(partial(_has_more_states, installed, count))
        times.append(time.monotonic() - started)
        maps = Path(f"/proc/{service.pid}/maps").read_text()
        service.terminate()
        service.wait(DEADLINE_S)
        assert "lxml" not in maps
    assert min(times) < 1.0, times  # 0.3 s on an idle machine


def test_restart_reads_a_configuration_that_was_edited(
    installed: Installation,
) -> None:
    installed.terminate()
    installed.write_config(ONLY_TERMINATE)
    installed.paths.config_file.write_bytes(installed.config.read_bytes())
    service = start_service(installed)
    wait_until(lambda: installed.states()[-1] == "Started")
    subprocess.run(["/bin/true", "unseen"], check=True)
    service.terminate()
    service.wait(DEADLINE_S)
    assert installed.configurations()[-1][0] == str(installed.paths.config_file)
    assert "unseen" not in installed.log.read_text()


def test_edited_configuration_that_is_wrong_leaves_the_one_before(
    installed: Installation,
) -> None:
    installed.terminate()
    installed.paths.config_file.write_text("<Sysmon")
    service = start_service(installed)
    wait_until(lambda: installed.states()[-1] == "Started")
    service.terminate()
    service.wait(DEADLINE_S)
    assert {name for name, _ in installed.configurations()} == {str(installed.config)}
