# SPDX-License-Identifier: MIT
"""Another configuration for a running daemon: nothing lost, nothing judged twice."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from kernel.conftest import DEADLINE_S, EVERYTHING
from kernel.installed import Installation, removed_afterwards, stored

from sysmonlx import capabilities
from sysmonlx.arguments import CommandLineOptions
from sysmonlx.reading import read_data

pytestmark = pytest.mark.kernel

NAMED = """
    <ProcessCreate onmatch="include">
      <Image name="{name}" condition="begin with">/</Image>
    </ProcessCreate>
    <ProcessTerminate onmatch="exclude"/>
"""
FILES_TOO = EVERYTHING + '<FileCreate onmatch="exclude"/>'
NETWORK_TOO = FILES_TOO + '<NetworkConnect onmatch="exclude"/>'


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Installation]:
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    with removed_afterwards(Installation(root)) as made:
        yield made


@pytest.fixture
def installed(place: Installation) -> Installation:
    place.install()
    return place


def wait_until_configured(place: Installation, count: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while len(place.configurations()) < count:
        assert time.monotonic() < deadline, "no further event 16"
        time.sleep(0.02)


def test_update_is_in_force_when_it_returns(installed: Installation) -> None:
    installed.write_config(NAMED.format(name="new"))
    result = installed.call("-c", os.fspath(installed.config))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == (
        f"Now in force: {installed.config} (2 event rules)."
    )
    _, events = installed.run(["/bin/true"])
    assert [each["RuleName"] for each in events] == ["new", "-"]
    assert 'name="new"' in installed.paths.config_file.read_text()


def test_listing_is_that_of_the_rules_in_force(installed: Installation) -> None:
    result = installed.call("-c")
    heading = "\nRule configuration (version 4.90):\n"
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(heading + " - ProcessCreate      ")
    installed.write_config(NAMED.format(name="new"))
    installed.call("-c", os.fspath(installed.config))
    assert "filter: begin with   value: '/'" in installed.call("-c").stdout


def test_update_without_a_daemon_stores_nothing(place: Installation) -> None:
    for words in ((os.fspath(place.config),), ("--",), ("-h", "SHA1")):
        result = place.call("-c", *words)
        assert result.returncode == 87
        assert result.stdout.endswith("Error: Sysmon is not installed.\n")
    assert {path.name for path in place.root.iterdir()} == {"test.xml"}
    assert (place.call("-c").returncode, place.call("-c").stdout) == (
        87,
        "Sysmon is not running\n",
    )


class Shown:
    """The installed instance in the foreground, and the configurations it names."""

    def __init__(self, place: Installation, *words: str) -> None:
        script = "import sys; from sysmonlx import foreground, state; "
        script += "foreground.serve(state.Paths.from_environment(__import__('os')"
        script += ".environ), watches=True, is_verbose=True)"
        self._process = subprocess.Popen(
            place.command(*words) if words else [sys.executable, "-P", "-c", script],
            env=place.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def next(self) -> tuple[str, str]:
        """Return name and hash of the next event 16."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("\tConfiguration: "):
                digest = next(self._process.stdout)
                return tuple(text.split(": ", 1)[1].rstrip() for text in (line, digest))  # type: ignore[return-value]
        raise AssertionError("no further event 16")

    def end(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=DEADLINE_S)


def test_every_way_to_configure_is_named_by_event_16(place: Installation) -> None:
    file = os.fspath(place.config)
    digest = "SHA256=" + hashlib.sha256(place.config.read_bytes()).hexdigest()
    shown = Shown(place, "-i", "-t", "verbose")
    assert shown.next() == ("sysmonlx -i -t verbose", "-")
    assert place.call("-c", file).returncode == 0
    assert shown.next() == (file, digest)
    assert place.call("-c", "--").returncode == 0
    assert shown.next() == ("-", "-")
    assert place.call("-c", "-h", "SHA1").returncode == 0
    assert shown.next() == ("-", "-")
    shown.end()
    shown = Shown(place)
    assert shown.next() == ("sysmonlx -nologo -c -h SHA1", "-")
    assert place.call("-c", "--").returncode == 0
    assert shown.next() == ("-", "-")
    shown.end()
    shown = Shown(place)
    assert shown.next() == ("Defaults", "-")
    assert place.call("-c", file).returncode == 0
    assert shown.next() == (file, digest)
    shown.end()
    shown = Shown(place)
    assert shown.next() == (file, digest)
    shown.end()


@pytest.mark.parametrize("extra", [("-h", "SHA1"), ("-n", "sh")])
def test_defaults_go_with_no_setting(
    installed: Installation, extra: tuple[str, ...]
) -> None:
    before = stored(installed.paths)
    result = installed.call("-c", "--", *extra)
    assert result.returncode == 87
    text = "Cannot use specific settings with enforcing defaults."
    assert text in result.stdout + result.stderr
    assert stored(installed.paths) == before


def test_switches_alone_are_a_configuration(installed: Installation) -> None:
    assert installed.call("-c", "-n", "sh,bash").returncode == 0
    listing = installed.call("-c").stdout
    assert " - NetworkConnect" in listing
    assert "filter: image        value: 'bash'" in listing


def test_settings_that_need_a_new_start_are_refused(installed: Installation) -> None:
    before = stored(installed.paths)
    installed.write_config(EVERYTHING, settings="<RingSize>4194304</RingSize>")
    result = installed.call("-c", os.fspath(installed.config))
    assert result.returncode == 87
    assert "RingSize takes effect at the next start" in result.stderr
    assert "the old rules stay in force" in result.stderr
    assert stored(installed.paths) == before


def test_btf_file_outlives_an_update_but_no_new_installation(
    place: Installation,
) -> None:
    file, btf = os.fspath(place.config), "/sys/kernel/btf/vmlinux"
    assert place.call("-i", file, "-btf", btf).returncode == 0
    assert place.call("-c", file).returncode == 0
    assert f"-btf\0{btf}\0".encode() in place.paths.command_line_file.read_bytes()
    assert place.call("-i", file).returncode == 0
    assert b"-btf" not in place.paths.command_line_file.read_bytes()


def test_update_that_cannot_be_stored_is_refused(installed: Installation) -> None:
    before = stored(installed.paths)
    installed.paths.policy_file.unlink()
    installed.paths.policy_file.mkdir()  # a disk that is full fails for root too
    installed.write_config(NAMED.format(name="lost"))
    result = installed.call("-c", os.fspath(installed.config))
    assert result.returncode == 87
    assert "the old rules stay in force" in result.stderr
    installed.paths.policy_file.rmdir()
    installed.paths.policy_file.write_bytes(before["policy.json"])
    _, events = installed.run(["/bin/true"])
    assert events[0]["RuleName"] == "-"
    assert len(installed.configurations()) == 1


# --- SIGHUP


def test_hang_up_opens_files_anew(installed: Installation) -> None:
    rotated = installed.log.with_name("events.json.1")
    installed.settle()
    installed.log.rename(rotated)
    os.kill(installed.pid, signal.SIGHUP)
    deadline = time.monotonic() + DEADLINE_S
    while not installed.log.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    installed._offset = 0
    installed.run(["/bin/true", "after"])
    assert "after" in installed.log.read_text()
    assert b"after" not in rotated.read_bytes()


def test_hang_up_reads_an_edited_configuration(installed: Installation) -> None:
    os.kill(installed.pid, signal.SIGHUP)
    installed.write_config(NAMED.format(name="edited"))
    time.sleep(1.5)  # nothing was changed when the signal came
    assert len(installed.configurations()) == 1
    installed.paths.config_file.write_bytes(installed.config.read_bytes())
    os.kill(installed.pid, signal.SIGHUP)
    wait_until_configured(installed, 2)
    _, events = installed.run(["/bin/true"])
    assert events[0]["RuleName"] == "edited"


def test_hang_up_after_defaults_changes_nothing(installed: Installation) -> None:
    installed.call("-c", "--")
    before = stored(installed.paths)
    os.kill(installed.pid, signal.SIGHUP)
    time.sleep(1.5)
    assert installed.stats()["events"]["16"]["emitted"] == 2
    assert stored(installed.paths) == before


def test_hang_up_with_a_wrong_configuration_keeps_the_rules(
    installed: Installation,
) -> None:
    installed.paths.config_file.write_text("<Sysmon")
    os.kill(installed.pid, signal.SIGHUP)
    time.sleep(2)
    assert installed.run(["/bin/true", "still"])[1]
    assert len(installed.configurations()) == 1


# --- no blind window


def test_swapping_rules_loses_nothing(installed: Installation) -> None:
    policies = []
    for name in ("even", "odd"):
        installed.write_config(NAMED.format(name=name))
        data = installed.config.read_bytes()
        reading = read_data(data, name, CommandLineOptions())
        assert reading.policy is not None
        policies.append(reading.policy.to_json())
    installed.request(do="reload", policy=policies[0])
    installed.settle()  # /bin/true is hashed by now: no event waits for that
    loop = 'i=0; while [ $i -lt 3000 ]; do /bin/true "swap-$i"; i=$((i+1)); done'
    with subprocess.Popen(["/bin/sh", "-c", loop]) as running:
        for number in range(1, 21):
            installed.request(do="reload", policy=policies[number % 2])
            time.sleep(0.05)
        running.wait(60)
    events = [
        each
        for each in installed.settle()
        if each.get("CommandLine", "").startswith("/bin/true swap-")
    ]
    expected = {f"/bin/true swap-{number}" for number in range(3000)}
    seen = Counter(each["CommandLine"] for each in events)
    assert set(seen) == expected
    assert set(seen.values()) == {1}
    names = [each["RuleName"] for each in events]
    assert set(names) == {"even", "odd"}
    assert changes(names) <= 20
    assert installed.stats()["records"]["process_create"]["lost"] == {}


def changes(names: list[str]) -> int:
    return sum(a != b for a, b in pairwise(names))


def capabilities_of(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    raise AssertionError(pid)


@pytest.mark.parametrize("rules", [FILES_TOO, NETWORK_TOO])
def test_programs_can_be_added_after_capabilities_were_dropped(
    installed: Installation, tmp_path: Path, rules: str
) -> None:
    kept = sum(1 << number for number in capabilities.KEPT)
    assert capabilities_of(installed.pid) == kept
    before = set(installed.stats()["attached"])
    installed.write_config(rules, "<Budget>0</Budget>")
    assert installed.call("-c", os.fspath(installed.config)).returncode == 0
    assert set(installed.stats()["attached"]) > before
    target = tmp_path / "made"
    _, events = installed.run(["/usr/bin/touch", os.fspath(target)])
    created = [each for each in events if each["EventID"] == "11"]
    assert [each["TargetFilename"] for each in created] == [os.fspath(target)]
    installed.write_config(EVERYTHING)
    assert installed.call("-c", os.fspath(installed.config)).returncode == 0
    assert set(installed.stats()["attached"]) == before
    assert capabilities_of(installed.pid) == kept
