# SPDX-License-Identifier: MIT
"""Two attacks from rules in YAML to lines at syslog: each is named once, misses never.

`tests/deb/test_deb_scenarios.py` has the same of the installed package.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.running import REPOSITORY, Daemon
from support.watch import watching

pytestmark = pytest.mark.kernel

PROGRAM = REPOSITORY / "tests" / "support" / "scenarios.py"
RULES = REPOSITORY / "config_schema" / "rules"
#: The two correlations, and what they are made of.
FILES = ("correlation_download_run_as_root.yml", "correlation_odd_program_connects.yml")
STEPS = "step_*.yml"
TITLES = [
    "Downloaded file is run as root",
    "Program or script of a writable place connects to another machine",
]
#: Only what marks the end is reported of itself.
NOTHING = (
    '<ProcessCreate onmatch="include"><Image condition="image">true</Image>'
    '</ProcessCreate><ProcessTerminate onmatch="include"/>'
)


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a place where everybody may write, with what stands for sudo.

    A copy of setpriv(1) with the bit of set-user-id makes its caller root; a shell of
    the name sudo then is the parent of what is run.
    """
    for each in ("wget", "setpriv", "bash"):
        if not shutil.which(each):
            pytest.skip(f"there is no {each}")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        place = Path(name)
        place.chmod(0o777)
        shutil.copy(shutil.which("setpriv") or "", place / "root")
        (place / "root").chmod(0o4755)
        shutil.copy(os.path.realpath("/bin/sh"), place / "sudo")
        yield place


def do(place: Path, what: str) -> None:
    """Do it to its end, in a network of its own."""
    (place / what).mkdir()
    as_root = f"{place}/root --reuid 0 --regid 0 --clear-groups"
    script = f"{place}/script"
    Path(script).write_text('"$@"; :\n')
    words = [*as_root.split(), f"{place}/sudo", script]
    subprocess.run(
        ["unshare", "--net", sys.executable, "-I", PROGRAM, place / what, what, *words],
        check=True,
    )


def names(listener: socket.socket) -> list[str]:
    """Return the names of rules in what came to syslog, in order."""
    found: list[str] = []
    while True:
        try:
            line = listener.recv(1 << 16, socket.MSG_DONTWAIT).decode()
        except BlockingIOError:
            return found
        found += re.findall(r'<Data Name="RuleNames">sigma=(.*?),level=', line)


def test_each_attack_is_one_line_at_syslog_and_a_near_miss_none(
    tmp_path: Path, place: Path
) -> None:
    rules = tmp_path / "rules.d"
    rules.mkdir(mode=0o755)
    for each in (*map(RULES.joinpath, FILES), *RULES.glob(STEPS)):
        shutil.copy(each, rules)
        (rules / each.name).chmod(0o644)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(os.fspath(tmp_path / "log"))
        settings = (
            f'<Rules action="include">{rules}</Rules>'
            f'<Sink kind="syslog" hits="only">{tmp_path}/log</Sink>'
        )
        with watching(tmp_path / "root", NOTHING, settings) as daemon:
            do(place, "misses")
            daemon.settle()
            assert names(listener) == []
            do(place, "attacks")
            daemon.settle()
            assert names(listener) == TITLES
            _check_story(daemon, place / "attacks")
            _check_reload(daemon, rules)


def _check_story(daemon: Daemon, place: Path) -> None:
    """See that each detection names the event that completes it, and the one before."""
    events = [each for each in daemon.events() if "sigma=" in each.get("RuleNames", "")]
    run, out = events
    assert (run["EventID"], run["Image"], run["User"]) == ("1", f"{place}/tool", "root")
    assert (out["EventID"], out["Image"]) == ("3", f"{place}/beacon")
    assert (out["DestinationIp"], out["DestinationPort"]) == ("10.99.0.1", "4444")
    for each in (run, out):
        before = re.findall(r",after=([-0-9: .]+) (\{[^}]+\})", each["RuleNames"])
        assert len(before) == 1
    (fetched,) = (
        each
        for each in daemon.events()
        if each["EventID"] == "11" and each["TargetFilename"] == f"{place}/tool"
    )
    assert fetched["ProcessGuid"] in run["RuleNames"]
    assert out["ProcessGuid"] in out["RuleNames"]


def _check_reload(daemon: Daemon, rules: Path) -> None:
    """See that SIGHUP reads YAML anew, without a rule that cannot be used."""
    text = (rules / "step_run_as_root.yml").read_text().replace("sysmonlx_run", "other")
    text = text.replace("level: informational", "level: low")
    name, number = re.compile("^id: .*$", re.MULTILINE), "id: {}"
    good = name.sub(number.format("11111111-1111-4111-8111-111111111111"), text)
    bad = name.sub(number.format("22222222-2222-4222-8222-222222222222"), text)
    bad = bad.replace("other", "third").replace("User: root", "Userr: root")
    (rules / "new.yml").write_text(f"{good}---\n{bad}")
    (rules / "new.yml").chmod(0o644)
    daemon.process.send_signal(signal.SIGHUP)
    in_force = f"{rules} (7 rules, 1 refused)"
    daemon.wait_for(lambda event: event.get("Configuration") == in_force)
