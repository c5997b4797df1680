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
from itertools import pairwise
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest
from support.installed import Installation, stored
from support.running import DEADLINE_S, EVERYTHING, wait_until

from sysmonlx.config.child import read_data
from sysmonlx.config.command_line import CommandLineOptions
from sysmonlx.host import capabilities

pytestmark = pytest.mark.kernel

NAMED = """
    <ProcessCreate onmatch="include">
      <Image name="{name}" condition="begin with">/</Image>
    </ProcessCreate>
    <ProcessTerminate onmatch="exclude"/>
"""
FILES_TOO = EVERYTHING + '<FileCreate onmatch="exclude"/>'
NETWORK_TOO = FILES_TOO + '<NetworkConnect onmatch="exclude"/>'


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
    """The installed instance in the foreground, and the configurations it names.

    All that it prints is read at once: it must not wait for whoever looks.
    """

    def __init__(self, place: Installation, *words: str) -> None:
        script = "from sysmonlx.cli.live import LiveOptions, LiveView; "
        script += "from sysmonlx.service import foreground, installed; "
        script += "foreground.serve(installed.Paths.from_environment(__import__('os')"
        script += ".environ), LiveView(LiveOptions(), is_verbose=True))"
        self._process = subprocess.Popen(
            place.command(*words) if words else [sys.executable, "-P", "-c", script],
            env=place.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._named: Queue[tuple[str, str]] = Queue()
        self._reader = Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("\tConfiguration: "):
                digest = next(self._process.stdout)
                self._named.put((shown_value(line), shown_value(digest)))

    def next(self) -> tuple[str, str]:
        """Return name and hash of the next event 16."""
        return self._named.get(timeout=DEADLINE_S)

    def end(self) -> None:
        self._process.terminate()
        assert self._process.wait(DEADLINE_S) == 0
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def shown_value(line: str) -> str:
    return line.split(": ", 1)[1].rstrip()


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


def hang_up(place: Installation) -> None:
    """Send the signal and wait until all that follows from it is done."""
    rotated = place.log.with_name("events.json.1")
    place.log.rename(rotated)
    os.kill(place.pid, signal.SIGHUP)
    wait_until(place.log.exists)  # files were opened anew
    place.read_rotated(rotated)
    place.stats()  # the daemon is through with the signal
    children = Path(f"/proc/{place.pid}/task/{place.pid}/children")
    wait_until(lambda: not children.read_text())  # so is who read the configuration


def test_hang_up_opens_files_anew(installed: Installation) -> None:
    installed.run(["/bin/true", "before"])
    hang_up(installed)
    installed.run(["/bin/true", "after"])
    files = [installed.log.with_name("events.json.1"), installed.log]
    texts = [file.read_text() for file in files]
    found = [[f"/bin/true {word}" in t for t in texts] for word in ("before", "after")]
    assert found == [[True, False], [False, True]]


def test_hang_up_reads_an_edited_configuration(installed: Installation) -> None:
    hang_up(installed)
    assert len(installed.configurations()) == 1
    installed.write_config(NAMED.format(name="edited"))
    installed.paths.config_file.write_bytes(installed.config.read_bytes())
    os.kill(installed.pid, signal.SIGHUP)
    wait_until(lambda: len(installed.configurations()) == 2)
    _, events = installed.run(["/bin/true"])
    assert events[0]["RuleName"] == "edited"


def test_hang_up_after_defaults_changes_nothing(installed: Installation) -> None:
    installed.call("-c", "--")
    before = stored(installed.paths)
    os.kill(installed.pid, signal.SIGHUP)
    time.sleep(1.5)  # the daemon looks once a second; nothing shows that it has
    assert installed.stats()["events"]["16"]["emitted"] == 2
    assert stored(installed.paths) == before


def test_hang_up_with_a_wrong_configuration_keeps_the_rules(
    installed: Installation,
) -> None:
    installed.paths.config_file.write_text("<Sysmon")
    hang_up(installed)
    assert installed.run(["/bin/true", "still"])[1]
    assert len(installed.configurations()) == 1
    told = installed.wait_for(lambda event: event.get("ID") == "Configuration")
    refused = "the configuration before this one is in force"
    assert told["Description"].endswith(refused)
    assert str(installed.paths.config_file) in told["Description"]
    assert refused in installed.call("-stats").stdout
    assert installed.call("-c", str(installed.config)).returncode == 0
    assert refused not in installed.call("-stats").stdout


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
        running.wait(DEADLINE_S)
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
    installed.write_config(rules)
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
