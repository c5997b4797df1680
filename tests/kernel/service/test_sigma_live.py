# SPDX-License-Identifier: MIT
"""Packs of Sigma rules in a daemon: true actions hit, a reload swaps packs whole."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from support.packs import asks, correlation, rule, write_pack
from support.running import EVERYTHING, Daemon, Event

from sysmonlx.rules.conditions import Operation
from sysmonlx.rules.sigma.pack import Head

pytestmark = pytest.mark.kernel

#: Sysmon's rules report only what marks the end: all else is there for Sigma's.
NOTHING = (
    '<ProcessCreate onmatch="include"><Image condition="image">true</Image>'
    '</ProcessCreate><ProcessTerminate onmatch="include"/>'
)

WGET_FILE = rule(
    "File, by wget",
    asks("Image", Operation.END, "/wget"),
    asks("TargetFilename", Operation.GLOB, "*/loot?.sh"),
    event_id=11,
    tags=("attack.t1105",),
)
AS_ROOT = rule("Root shell", asks("Image", Operation.END, "/sudo"), level="critical")
ANY_ROOT = rule("Root", asks("User", Operation.IS, "root"), AS_ROOT.expression)
LOOPBACK = rule(
    "Call home",
    asks("DestinationIp", Operation.CIDR, "127.0.0.0/8"),
    asks("DestinationPort", Operation.NUMBER_GT, "1023"),
    event_id=3,
)


class Place:
    """A daemon, its pack, and programs with names that rules ask for."""

    def __init__(self, start: Callable[..., Daemon], tmp_path: Path) -> None:
        self.pack = tmp_path / "a.sigma.json"
        self.hits = tmp_path / "hits.json"
        self.files = tmp_path / "files"
        self.files.mkdir()
        for name in ("wget", "sudo", "other"):
            shutil.copy(os.path.realpath("/bin/cp"), tmp_path / name)
        self.program = tmp_path
        self.settings = (
            f'<Rules action="include">{self.pack}</Rules>'
            f'<Sink kind="file" form="json" hits="only">{self.hits}</Sink>'
        )
        self.write(WGET_FILE, AS_ROOT, ANY_ROOT, LOOPBACK)
        self.daemon = start(NOTHING, self.settings)

    def write(self, *rules: Head) -> None:
        write_pack(self.pack, *rules)

    def copy(self, name: str, target: str) -> None:
        """Run a program of this name, which makes a file."""
        words = [str(self.program / name), "/etc/hostname", str(self.files / target)]
        subprocess.run(words, check=True)

    def reload(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.daemon.command("-c", os.fspath(self.daemon.config)),
            env=self.daemon.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def names(self) -> list[tuple[str, str]]:
        """Return event and RuleName of each event of a program so far, in order."""
        return [
            (each["EventID"], each["RuleName"])
            for each in self.daemon.settle()
            if each.get("RuleName", "-") != "-"
        ]

    def configurations(self) -> list[Event]:
        return [each for each in self.daemon.events() if each["EventID"] == "16"]


def _connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


LOOT_RUN = rule("Ran", asks("CommandLine", Operation.CONTAINS, "loot"))
DOWNLOAD = correlation(
    "Downloaded file run",
    *(WGET_FILE, LOOT_RUN),
    by=("Lineage", "File"),
    aliases={"File": {WGET_FILE.id: "TargetFilename", LOOT_RUN.id: "Program"}},
    level="critical",
    tags=("attack.t1105",),
)
DOWNLOADED = (
    "sigma=Downloaded file run,level=critical,technique_id=T1105"
    ",technique_name=Ingress Tool Transfer"
)

ROOT = "sigma=Root shell,level=critical"
HOME = "sigma=Call home,level=high"
FILE = (
    "sigma=File; by wget,level=high,technique_id=T1105"
    ",technique_name=Ingress Tool Transfer"
)


@pytest.fixture
def place(daemon: Callable[..., Daemon], tmp_path: Path) -> Place:
    return Place(daemon, tmp_path)


def test_packs_name_and_report_and_are_swapped_whole(place: Place) -> None:
    for number in range(20):
        place.copy("other", f"loot{number}.sh")
    place.copy("wget", "lootA.sh")
    place.copy("wget", "none.sh")
    place.copy("sudo", "x")
    _connect()
    assert sorted(place.names()) == [("1", ROOT), ("11", FILE), ("3", HOME)]
    assert len(place.hits.read_text().splitlines()) == 3
    _all_names_stand_last(place)
    _counters_tell_the_hits(place)
    _a_pack_that_is_refused_changes_nothing(place)
    _another_pack_is_in_force_whole(place)
    _a_pack_that_changed_is_read_at_sighup(place)
    _a_correlation_names_what_completes_it(place)


def _all_names_stand_last(place: Place) -> None:
    named = [each for each in place.daemon.events() if "RuleNames" in each]
    by_name = {each["RuleName"]: each["RuleNames"] for each in named}
    assert by_name[ROOT] == f"{ROOT} | sigma=Root,level=high"
    assert by_name[FILE] == FILE
    assert by_name["-"] == "-"
    last = ["RuleNames", "EventID", "EventRecordID"]  # the two are the test's
    assert all([*each][-3:] == last for each in named)


def _counters_tell_the_hits(place: Place) -> None:
    stats = place.daemon.stats()
    assert stats["gaps"] == []
    assert stats["events"]["11"]["filtered_in"] == "kernel"
    assert stats["records"]["file_create"]["filtered_in_kernel"] >= 20
    assert stats["records"]["file_create"]["submitted"] == 1
    counts = {each["title"]: each["hits"] for each in stats["sigma"]["rules"]}
    assert counts == {"Root shell": 1, "Call home": 1, "File, by wget": 1, "Root": 1}
    digest = "SHA256=" + sha256(place.pack.read_bytes()).hexdigest()
    last = place.configurations()[-1]
    assert last["Configuration"] == f"{place.pack} (4 rules)"
    assert last["ConfigurationFileHash"] == digest


def _a_pack_that_is_refused_changes_nothing(place: Place) -> None:
    before = place.configurations()
    for broken in ("{", place.pack.read_text().replace('"is"', '"was"')):
        place.pack.write_text(broken)
        refused = place.reload()
        assert refused.returncode == 87
        assert f"Error: Rules {place.pack}: " in refused.stdout
    place.copy("sudo", "x")
    assert place.names()[-1] == ("1", ROOT)
    assert place.configurations() == before


def _another_pack_is_in_force_whole(place: Place) -> None:
    place.write(LOOPBACK, rule("Other", asks("Image", Operation.END, "/other")))
    assert place.reload().returncode == 0
    before = len(place.names())
    place.copy("sudo", "x")
    place.copy("wget", "lootB.sh")
    place.copy("other", "x")
    assert place.names()[before:] == [("1", "sigma=Other,level=high")]
    counted = place.daemon.stats()["sigma"]["rules"]
    assert {each["title"]: each["hits"] for each in counted} == {
        "Call home": 1,  # the count of a rule goes on
        "Other": 1,
    }
    assert place.configurations()[-1]["Configuration"] == f"{place.pack} (2 rules)"


def _a_pack_that_changed_is_read_at_sighup(place: Place) -> None:
    place.write(AS_ROOT)
    place.daemon.process.send_signal(signal.SIGHUP)
    name = f"{place.pack} (1 rule)"
    place.daemon.wait_for(lambda event: event.get("Configuration") == name)
    place.copy("sudo", "x")
    assert place.names()[-1] == ("1", ROOT)


def _a_correlation_names_what_completes_it(place: Place) -> None:
    place.write(WGET_FILE, LOOT_RUN, DOWNLOAD)
    assert place.reload().returncode == 0
    before = len(place.names())
    place.copy("wget", "lootC.sh")
    place.copy("wget", "lootD.sh")
    place.write(AS_ROOT, WGET_FILE, LOOT_RUN, DOWNLOAD)
    assert place.reload().returncode == 0  # what has begun goes on
    script = place.files / "lootC.sh"
    for words in (["-e", f"./{script.name}"], ["./lootE.sh"]):
        subprocess.run(["sh", *words], cwd=place.files, check=False)
    assert place.names()[before:] == [("1", DOWNLOADED)]
    events = place.daemon.events()
    (made,) = (e for e in events if e.get("TargetFilename") == os.fspath(script))
    (ran,) = (e for e in events if e.get("RuleName") == DOWNLOADED)
    after = f"{DOWNLOADED},after={made['UtcTime']} {made['ProcessGuid']}"
    assert ran["RuleNames"] == after
    stats = place.daemon.stats()
    assert stats["gaps"] == []
    assert stats["sigma"]["correlations"] == {"groups": 2, "forgotten": 0, "errors": 0}
    hits = {each["title"]: each["hits"] for each in stats["sigma"]["rules"]}
    assert hits["Downloaded file run"] == 1


def test_start_with_a_correlation_learns_logins(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """The processes of the start are asked for their sessions, by no thread yet."""
    pack = tmp_path / "start.sigma.json"
    write_pack(pack, WGET_FILE, LOOT_RUN, DOWNLOAD)
    started = daemon(EVERYTHING, f"<Rules>{pack}</Rules>")
    sigma = started.stats()["sigma"]
    assert [each["title"] for each in sigma["rules"]].count("Downloaded file run") == 1
    assert not [each for each in started.events() if each["EventID"] == "255"]
