# SPDX-License-Identifier: MIT
"""Removal, the foreground, the control socket: with the real program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.installed import (
    Installation,
    daemons_below,
    is_alive,
    stored,
)
from support.running import DEADLINE_S, wait_until

from sysmonlx.errors import ControlError
from sysmonlx.host.lock import exclusive
from sysmonlx.service import control

pytestmark = pytest.mark.kernel


# --- -u


def test_uninstall_stops_and_removes_and_says_so(installed: Installation) -> None:
    pid, paths = installed.pid, installed.paths
    for directory in (paths.config_dir, paths.state_dir):  # of a writer that was killed
        (directory / f".config.xml.{'0f' * 8}").touch()
    result = installed.call("-u")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[:2] == ["Sysmon stopped.", "Ended the daemon"]
    assert f"Removed {paths.config_file}" in result.stdout
    assert not is_alive(pid)
    assert not paths.config_dir.exists()
    assert not paths.run_dir.exists()
    assert {path.name for path in paths.state_dir.iterdir()} == {
        "record_id",
        "boot_offset",
    }
    assert f"Kept {paths.state_dir}" in result.stdout
    assert installed.states()[-1] == "Stopped"


def test_uninstall_without_installation_is_fine(installed: Installation) -> None:
    installed.call("-u")
    for words in (("-u",), ("-u", "force")):
        result = installed.call(*words)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith("Sysmon stopped.\n")


def test_edited_configuration_outlives_installing_and_uninstalling(
    installed: Installation,
) -> None:
    paths = installed.paths
    edited = paths.config_file.read_text().replace("<Sysmon", "<!-- mine --><Sysmon", 1)
    paths.config_file.write_text(edited)
    result = installed.call("-i")
    assert (result.returncode, result.stderr) == (0, "")
    assert paths.config_file.read_text() == edited
    installed.follow()
    assert installed.run(["/bin/true", "rules of the file"])[1]
    kept = f"Kept the edited configuration as {paths.config_file}.old"
    result = installed.call("-u")
    assert kept in result.stdout
    assert paths.config_dir.joinpath("config.xml.old").read_text() == edited
    assert installed.call("-i").returncode == 0
    result = installed.call("-u", "purge")
    assert (result.returncode, result.stderr) == (0, "")
    assert not any(each.exists() for each in (paths.config_dir, paths.state_dir))


def test_edit_that_cannot_be_kept_stays_under_its_own_name(
    installed: Installation,
) -> None:
    paths = installed.paths
    paths.config_file.write_text("<Sysmon/><!-- mine -->")
    paths.config_dir.joinpath("config.xml.old.8").write_text("an older one")
    paths.config_dir.joinpath("config.xml.old.9").mkdir()
    result = installed.call("-u")
    assert result.returncode == 1
    assert result.stderr.startswith("Error: Cannot keep ")
    assert paths.config_file.read_text() == "<Sysmon/><!-- mine -->"
    assert not paths.policy_file.exists()
    assert not paths.run_dir.exists()


def test_bare_install_repairs_though_the_edited_file_is_refused(
    installed: Installation,
) -> None:
    installed.paths.config_file.write_text("<Sysmon")
    before = installed.pid
    result = installed.call("-i")
    assert result.returncode == 0
    assert f"{installed.paths.config_file}" in result.stdout
    assert "the configuration before this one is in force" in result.stderr
    assert installed.paths.config_file.read_text() == "<Sysmon"
    assert installed.pid != before
    installed.follow()
    assert installed.run(["/bin/true", "the rules of before"])[1]
    comm = Path(f"/proc/{installed.pid}/comm").read_text()
    assert comm == "sysmonlx\n"


def test_uninstall_keeps_files_of_others(installed: Installation) -> None:
    mine = installed.paths.config_dir / "mine.xml"
    mine.write_text("<Sysmon/>")
    result = installed.call("-u")
    assert f"Kept {installed.paths.config_dir}: it holds other files" in (result.stdout)
    assert mine.exists()


def test_uninstall_goes_on_after_what_it_cannot_remove(
    installed: Installation,
) -> None:
    paths = installed.paths
    paths.policy_file.unlink()
    paths.policy_file.mkdir()
    result = installed.call("-u")
    told = f"Error: Cannot remove {paths.policy_file}: Is a directory\n"
    assert (result.returncode, result.stderr) == (1, told)
    assert "Ended the daemon\n" in result.stdout
    # Nothing says any more that the configuration is the copy of a file.
    assert [each.name for each in paths.config_dir.iterdir()] == ["config.xml.old"]
    assert not paths.run_dir.exists()
    paths.policy_file.rmdir()
    assert installed.call("-u").returncode == 0


def test_install_that_waits_for_a_removal_makes_its_directories_again(
    installed: Installation,
) -> None:
    installed.call("-u")
    paths = installed.paths
    paths.create_private()
    command = installed.command("-i", os.fspath(installed.config))
    with exclusive(paths.state_dir):
        process = subprocess.Popen(command, env=installed.environment)
        wait_until(lambda: waits_for_a_lock(process.pid) or process.poll() is not None)
        paths.config_dir.rmdir()
        paths.run_dir.rmdir()
    assert process.wait(DEADLINE_S) == 0
    assert installed.pid


def waits_for_a_lock(pid: int) -> bool:
    """Tell whether a process is among those that wait in /proc/locks."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and str(pid) in line.split() for line in lines)


@pytest.mark.parametrize("what", ["directory", "symbolic link"])
def test_install_names_what_is_in_its_way_and_leaves_it(
    installed: Installation, what: str
) -> None:
    path = installed.paths.policy_file
    path.unlink()
    if what == "directory":
        path.mkdir()
    else:
        path.symlink_to("/absent")
    for _ in range(2):
        result = installed.call("-i", os.fspath(installed.config))
        assert result.returncode == 1
        assert f"{path}: a {what} is in its place, remove it first (what ran" in (
            result.stderr
        )
        assert os.path.lexists(path)
        assert installed.pid


def test_numbers_go_on_after_uninstall(installed: Installation) -> None:
    installed.call("-u")
    last = int(installed.events()[-1]["EventRecordID"])
    installed.install()
    installed.wait_for(lambda each: int(each["EventRecordID"]) == last + 1)


def test_uninstall_asks_first_and_forces_when_told(installed: Installation) -> None:
    os.kill(installed.pid, signal.SIGSTOP)
    result = installed.call("-u")
    assert result.returncode == 1
    assert "does not end: use -u force" in result.stderr
    assert installed.call("-u", "force").returncode == 0
    assert daemons_below(installed.root) == []


# --- foreground


def test_watching_beside_a_daemon_disturbs_and_stores_nothing(
    installed: Installation,
) -> None:
    before = stored(installed.paths)
    with open(installed.root / "shown", "w+b") as shown:
        watching = subprocess.Popen(
            installed.command("-t"),
            env=installed.environment,
            stdout=shown,
            stderr=subprocess.PIPE,
        )
    assert watching.stderr is not None
    while b"Watching; Ctrl-C ends.\n" not in watching.stderr.readline():
        assert watching.poll() is None
    path = installed.root / "shown"
    wait_until(lambda: b"Started" in path.read_bytes())
    _, events = installed.run(["/bin/true", "seen-by-both"])
    wait_until(lambda: b"seen-by-both" in path.read_bytes())
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=DEADLINE_S)
    assert watching.returncode == 0
    assert b"0 lost" in path.read_bytes()
    assert [each["EventID"] for each in events] == ["1", "5"]
    assert stored(installed.paths) == before
    assert installed.states() == ["Started"]
    numbers = [int(each["EventRecordID"]) for each in installed.settle()]
    assert numbers == list(range(len(numbers)))


def test_watching_alone_leaves_no_trace(place: Installation) -> None:
    watching = subprocess.Popen(
        place.command("-t"), env=place.environment, stdout=subprocess.PIPE
    )
    assert watching.stdout is not None
    while b"Started" not in watching.stdout.readline():
        assert watching.poll() is None
    watching.send_signal(signal.SIGTERM)
    out, _ = watching.communicate(timeout=DEADLINE_S)
    assert (watching.returncode, b"CPU used" in out) == (0, True)
    assert {path.name for path in place.root.iterdir()} == {"test.xml"}


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.1, 0.2, 0.4, 0.8])
def test_interrupt_at_any_moment_ends_without_a_traceback(
    place: Installation, after_s: float
) -> None:
    """At any moment since the program, not Python, has begun: it shows its banner."""
    with open(place.root / "shown", "wb") as shown:
        watching = subprocess.Popen(
            place.command("-t"),
            env=place.environment,
            stdout=subprocess.DEVNULL,
            stderr=shown,
        )
    wait_until(lambda: b"sysmonlx v" in (place.root / "shown").read_bytes())
    time.sleep(after_s)
    watching.send_signal(signal.SIGINT)
    watching.wait(DEADLINE_S)
    err = (place.root / "shown").read_bytes()
    # Interrupted within exec() of a text, as dataclasses are made, Python ends by the
    # signal itself: to a shell that is 130, too.
    assert watching.returncode in (0, 130, -signal.SIGINT)
    assert b"Traceback" not in err


def test_installed_instance_in_the_foreground_is_replaced_by_a_daemon(
    place: Installation,
) -> None:
    place.start()
    assert daemons_below(place.root) == []
    foreground = place.process
    place.install()
    assert foreground.wait(DEADLINE_S) == 0
    assert foreground.stderr is not None
    foreground.stderr.close()
    assert daemons_below(place.root) == [place.pid]


def test_daemon_that_fails_says_so_by_an_event(place: Installation) -> None:
    script = (
        "import sys; from sysmonlx.cli import main\n"
        "from sysmonlx.service.chores import Chores\n"
        "def fail(self): raise RuntimeError('on purpose')\n"
        "Chores.do_all = fail; sys.exit(main.main())"
    )
    command = [sys.executable, "-P", "-c", script, "-t", "-i", os.fspath(place.config)]
    result = subprocess.run(
        command, env=place.environment, capture_output=True, timeout=60, check=False
    )
    assert result.returncode == 1
    assert b"RuntimeError: on purpose" in result.stderr
    report = place.events()[-1]
    assert (report["EventID"], report["ID"]) == ("255", "Failure")
    assert report["Description"] == "The service ends: RuntimeError: on purpose"
    assert place.pid == 0
    assert not place.paths.control_socket.exists()


def test_shortage_or_error_of_a_moment_ends_nobody(place: Installation) -> None:
    """Chores that always fail, and a ring that cannot be read for a while."""
    over = place.root / "over"
    script = (
        "import sys; from sysmonlx.cli import main\n"
        "from sysmonlx.service.guard import Guard\n"
        "from sysmonlx.bpf.ringbuffer import RingBuffer; read = RingBuffer.read\n"
        "def fail(self, **_): raise ValueError('on purpose')\n"
        "Guard.look = fail; count = 0\n"
        "def short(self, limit=1024):\n"
        "    global count; count += 1\n"
        "    if 3 < count < 9: raise MemoryError\n"
        "    if count == 9: raise OSError(12, 'Cannot allocate memory')\n"
        f"    if count == 10: open({os.fspath(over)!r}, 'w').close()\n"
        "    return read(self, limit)\n"
        "RingBuffer.read = short; sys.exit(main.main())"
    )
    command = [sys.executable, "-P", "-c", script, "-t", "-i", os.fspath(place.config)]
    place.process = subprocess.Popen(
        command,
        env=place.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    place.wait_for(lambda event: event.get("State") == "Started")
    told = place.wait_for(lambda event: event.get("ID") == "Error")
    assert "ValueError: on purpose" in told["Description"] or (
        "MemoryError" in told["Description"]
    )
    assert [each["EventID"] for each in place.run(["/bin/true", "on"])[1]] == ["1", "5"]
    wait_until(lambda: bool(place.settle()) and over.exists())  # else it ends within it
    place.stop()
    assert place.process.returncode == 0


# --- the control socket


def test_socket_refuses_who_is_not_root(installed: Installation) -> None:
    socket = installed.paths.control_socket
    socket.parent.chmod(0o755)
    socket.chmod(0o666)
    client = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        'print(s.recv(99) if s.sendall(b\'{"do":"pid"}\\n\') is None else 0)'
    )
    user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    for prefix, answers in ((user, False), ([], True)):
        command = [*prefix, "/usr/bin/python3", "-c", client, socket.name]
        result = subprocess.run(
            command, capture_output=True, text=True, cwd=socket.parent, check=False
        )
        assert (f'"pid": {installed.pid}' in result.stdout) is answers, result.stderr


@pytest.mark.parametrize(
    "message",
    [
        {"do": "reload"},
        {"do": "reload", "policy": 7},
        {"do": "reload", "policy": "{}"},
        {"do": "reload", "policy": "[" * 100_000},
        {"do": "dance"},
        {},
    ],
)
def test_nonsense_on_the_socket_is_refused_and_survived(
    installed: Installation, message: dict[str, object]
) -> None:
    with pytest.raises(ControlError):
        control.request(installed.paths.control_socket, message)
    assert installed.run(["/bin/true", "still-here"])[1]


# --- environment


def test_program_needs_no_environment(place: Installation) -> None:
    environment = {
        name: place.environment[name] for name in ("SYSMONLX_ROOT", "PYTHONPATH")
    }
    command = [sys.executable, "-P", "-m", "sysmonlx", "-i", os.fspath(place.config)]
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    assert daemons_below(place.root) == [place.pid]
