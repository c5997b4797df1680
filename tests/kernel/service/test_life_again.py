# SPDX-License-Identifier: MIT
"""What ends, fails, is damaged or interrupted: the sensor is there again."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.installed import Installation, daemons_below, end_of, is_alive, stored
from support.running import DEADLINE_S, wait_until

pytestmark = pytest.mark.kernel

OLD = Path(__file__).resolve().parents[2] / "data" / "version-0.1.0"


# --- without a service manager


def wait_for_another(installed: Installation, pid: int) -> None:
    """Wait until another daemon captures, and take it for the one that is followed."""
    count = len(installed.states())
    wait_until(lambda: len(installed.states()) > count)
    assert installed.pid not in (0, pid)
    installed.follow()


def stop_between_lines(installed: Installation) -> None:
    """Stop the daemon where each number that it has taken stands in the log.

    A number is taken before its line is written, so that none is given twice: a kill in
    between leaves a gap.
    """

    def is_between() -> bool:
        os.kill(installed.pid, signal.SIGSTOP)
        wait_until(lambda: state_of(installed.pid) == "T")
        files = installed.paths.next_id_file, installed.paths.record_id_file
        counter = next(each for each in files if each.exists())
        (taken,) = struct.unpack_from("=Q", counter.read_bytes())
        if taken == len(installed.events()):
            return True
        os.kill(installed.pid, signal.SIGCONT)
        return False

    wait_until(is_between)


def state_of(pid: int) -> str:
    """Return the letter of a process's state, proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def test_killed_daemon_captures_again_and_says_how_it_ended(
    installed: Installation,
) -> None:
    first = installed.pid
    installed.settle()
    stop_between_lines(installed)
    os.kill(first, signal.SIGKILL)
    wait_for_another(installed, first)
    assert installed.run(["/bin/true", "again"])[1]
    reports = [each for each in installed.events() if each["EventID"] == "255"]
    assert [(each["ID"], each["Description"]) for each in reports] == [
        ("Restart", "The service ended by signal 9; started again")
    ]
    numbers = [int(each["EventRecordID"]) for each in installed.events()]
    assert numbers == list(range(len(numbers)))
    assert installed.call("-u").returncode == 0
    assert daemons_below(installed.root) == []
    assert not installed.keeper


def test_commands_tell_that_it_is_being_started_again(installed: Installation) -> None:
    os.kill(installed.keeper, signal.SIGSTOP)
    first = installed.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not is_alive(first))
    text = "Error: The daemon has ended and is being started again: try again soon\n"
    assert installed.call("-c", os.fspath(installed.config)).stdout.endswith(text)
    assert installed.call("-stats").stderr == text
    os.kill(installed.keeper, signal.SIGCONT)
    installed.install()
    assert daemons_below(installed.root) == [installed.pid]


def test_keeper_costs_little(installed: Installation) -> None:
    status = Path(f"/proc/{installed.keeper}/smaps_rollup").read_text()
    pss_kib = int(status.split("\nPss:")[1].split()[0])
    assert pss_kib < 8192
    before = Path(f"/proc/{installed.keeper}/schedstat").read_text().split()[0]
    installed.settle()
    after = Path(f"/proc/{installed.keeper}/schedstat").read_text().split()[0]
    assert int(after) - int(before) < 20_000_000


def test_daemon_whose_keeper_was_killed_goes_on_and_can_be_replaced(
    installed: Installation,
) -> None:
    first = installed.pid
    os.kill(installed.keeper, signal.SIGKILL)
    wait_until(lambda: not installed.keeper)
    assert installed.run(["/bin/true", "alone"])[1]
    assert installed.pid == first
    told = "trouble: sysmonlx-keeper has ended: nobody starts the service again"
    assert told in installed.call("-stats").stdout
    installed.install()
    assert installed.keeper
    assert daemons_below(installed.root) == [installed.pid]


# --- whatever is stored


def be(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def be_a_directory(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def be_a_fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage",
    [be(b"[" * 200_000), be(b"\xff" * 8), be_a_directory, be_a_fifo],
    ids=["nested", "8 bytes", "directory", "fifo"],
)
def test_damage_of_all_that_is_stored_hinders_no_start(
    installed: Installation, damage: Callable[[Path], object]
) -> None:
    installed.terminate()
    paths = installed.paths
    names = ("policy.json", "programs", "boot_offset", "command_line", "record_id")
    for name in names:
        damage(paths.state_dir / name)
    damage(paths.config_file)
    result = installed.call("-service")
    assert result.returncode == 0
    assert "the built-in rules are in force" in result.stderr
    assert installed.stats()["events"]["255"]["emitted"] >= 1
    shutil.rmtree(paths.config_file) if paths.config_file.is_dir() else None
    paths.config_file.unlink(missing_ok=True)
    paths.config_file.write_bytes(installed.config.read_bytes())
    text = os.fspath(paths.config_file)
    for name in names:
        if (paths.state_dir / name).is_dir():
            (paths.state_dir / name).rmdir()
        elif (paths.state_dir / name).is_fifo():
            (paths.state_dir / name).unlink()
    result = installed.call("-c", text)
    assert (result.returncode, f"Now in force: {text}" in result.stdout) == (0, True)
    installed.follow()
    assert installed.run(["/bin/true", "as-configured"])[1]


def test_built_in_rules_are_told_by_an_event(
    installed: Installation, tmp_path: Path
) -> None:
    """To the log daemon, that is: the built-in rules have no other destination."""
    installed.terminate()
    installed.paths.config_file.write_bytes(b"<Sysmon")
    policy = installed.paths.policy_file.read_text()
    installed.paths.policy_file.write_text(
        policy.replace('"ring_size_bytes":8388608', '"ring_size_bytes":-5')
    )
    result = installed.call("-service")
    assert result.returncode == 0
    (line,) = [each for each in result.stderr.splitlines() if "built-in" in each]
    assert line.startswith("Warning: ")
    assert f"{installed.paths.config_file}" in line


def test_start_over_the_state_of_version_0_1_0(place: Installation) -> None:
    """A default of that version is none of this one; numbers go on, the name stays."""
    place.paths.create_private()
    log = place.root / "events.json"
    config = (OLD / "config.xml").read_text().replace("/var/log/sysmon.json", f"{log}")
    metrics = "/run/sysmonlx-metrics.prom", f"{place.root}/metrics.prom"
    place.paths.config_file.write_text(config.replace(*metrics))
    for name in ("policy.json", "command_line", "record_id", "boot_offset", "programs"):
        shutil.copyfile(OLD / name, place.paths.state_dir / name)
    stored = (OLD / "policy.json").read_text().replace(*metrics)
    (place.paths.state_dir / "policy.json").write_text(stored)
    result = place.call("-service")
    assert result.returncode == 0
    place.follow()
    assert place.pid
    ours = place.run(["/bin/true", "kept"])[1]
    assert [each["RuleName"] for each in ours] == ["upgraded"]
    assert int(place.events()[0]["EventRecordID"]) == 123456
    (told,) = [each for each in place.events() if each.get("ID") == "Configuration"]
    warning = "Warning: Budget is no share of a core any more: 20 counts as 1"
    assert told["Description"].startswith(warning)
    assert place.paths.policy_file.read_text() != stored
    assert (place.paths.state_dir / "programs").read_bytes()[:2] != b'{"'
    warned = place.call("-c", os.fspath(place.paths.config_file))
    assert warned.returncode == 0
    assert "Budget is no share of a core any more: 20 counts as 1" in warned.stdout


def test_configuration_that_was_mended_is_taken_without_being_told(
    installed: Installation,
) -> None:
    installed.terminate()
    good = installed.paths.config_file.read_bytes()
    installed.paths.config_file.write_bytes(b"<Sysmon")
    assert installed.call("-service").returncode == 0
    installed.follow()
    assert "before this one is in force" in installed.call("-stats").stdout
    count = len(installed.configurations())
    installed.paths.config_file.write_bytes(good + b"\n")
    wait_until(lambda: len(installed.configurations()) > count)
    digest = hashlib.sha256(good + b"\n").hexdigest()
    assert digest in installed.configurations()[-1][1]
    assert "in force" not in installed.call("-stats").stdout


@pytest.mark.parametrize("name", ["control.sock", "notify.sock", "sysmonlx.pid"])
def test_directories_in_the_place_of_runtime_files_hinder_no_start(
    installed: Installation, name: str
) -> None:
    installed.terminate()
    wait_until(lambda: not installed.keeper)
    (installed.paths.run_dir / name / "inner").mkdir(parents=True)
    assert installed.call("-service").returncode == 0
    installed.follow()
    assert installed.run(["/bin/true", "all-the-same"])[1]
    assert installed.call("-u").returncode == 0


# --- where the events arrive


def with_sink(place: Installation, sink: str) -> str:
    text = place.config.read_text()
    begin, end = text.index("<Sink"), text.index("</Sink>")
    path = place.root / "sink.xml"
    path.write_text(f"{text[:begin]}{sink}{text[end + len('</Sink>') :]}")
    return os.fspath(path)


def test_install_tells_where_the_events_arrive(place: Installation) -> None:
    result = place.call("-i", os.fspath(place.config))
    assert result.stderr == ""
    assert f"Events go to {place.log}.\n" in result.stdout


@pytest.mark.parametrize("switch", ["-i", "-c"])
def test_events_that_arrive_nowhere_are_told(place: Installation, switch: str) -> None:
    if switch == "-c":
        place.install()
    nowhere = place.root / "none" / "log"
    config = with_sink(place, f'<Sink kind="syslog">{nowhere}</Sink>')
    result = place.call(switch, config)
    assert result.returncode == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Warning: {nowhere}: No such file or directory: no lines")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        nowhere.parent.mkdir()
        log.bind(os.fspath(nowhere))
        wait_until(lambda: place.call(switch, config).stderr == "")


# --- interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after_s", [0.3, 0.5, 0.8, 1.2])
def test_interrupted_installation_has_done_all_or_nothing(
    installed: Installation, after_s: float, number: signal.Signals
) -> None:
    before, first = stored(installed.paths), installed.pid
    installed.config.write_text(installed.config.read_text() + "\n")
    command = installed.command("-nologo", "-i", os.fspath(installed.config))
    installing = subprocess.Popen(
        command,
        env=installed.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    time.sleep(after_s)
    with_group = number == signal.SIGINT  # as a terminal does
    (os.killpg if with_group else os.kill)(installing.pid, number)
    _, err = installing.communicate(timeout=DEADLINE_S)
    assert installing.returncode in (0, 130, -number), err
    after = stored(installed.paths)
    if after != before:  # all of it was done
        assert after.keys() == before.keys()
        assert after["config.xml"] == installed.config.read_bytes()
        digest = hashlib.sha256(after["config.xml"]).hexdigest()
        assert digest in after["policy.json"].decode()
        assert b"Interrupted" not in err
    elif installed.pid != first:
        assert b"Interrupted: what ran before runs again" in err
    assert daemons_below(installed.root) == [installed.pid]
    installed.follow()
    assert installed.run(["/bin/true", "still-here"])[1]


def test_interrupted_first_installation_leaves_nothing_behind(
    place: Installation,
) -> None:
    installing = subprocess.Popen(
        place.command("-nologo", "-i", os.fspath(place.config)),
        env=place.environment,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: place.keeper != 0 or installing.poll() is not None)
    installing.send_signal(signal.SIGINT)
    _, err = installing.communicate(timeout=DEADLINE_S)
    assert installing.returncode == 130
    assert err == b"Interrupted: everything is as it was before\n"
    assert (place.keeper, place.pid, stored(place.paths)) == (0, 0, {})
    assert daemons_below(place.root) == []


def test_second_installation_waits_for_the_first(installed: Installation) -> None:
    """Two at once, of which one is refused by the kernel: the other is in force."""
    wrong = installed.root / "no.btf"
    wrong.write_bytes(b"this is no BTF")
    calls = [
        subprocess.Popen(
            installed.command("-i", os.fspath(installed.config), *more),
            env=installed.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for more in ((), ("-btf", os.fspath(wrong)))
    ]
    assert [call.wait(DEADLINE_S) for call in calls] == [0, 12]
    assert daemons_below(installed.root) == [installed.pid]
    installed.follow()
    assert installed.run(["/bin/true", "one-of-two"])[1]
    pid = installed.pid
    installed.terminate()
    assert end_of(pid)
