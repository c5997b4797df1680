# SPDX-License-Identifier: MIT
"""Version 0.1.0 runs under load, and this version is installed over it.

Both are built and installed as an administrator would, below a prefix of this test. No
package comes from the network: `make deps` has kept them in build/wheels.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.installed import Installation, daemons_below, removed_afterwards
from support.running import DEADLINE_S, REPOSITORY, Event, wait_until

OLD_COMMIT = "8560e83eaaf3278ee2ffc00ee7685a57f89d5817"
OLD_STATE = REPOSITORY / "tests" / "data" / "version-0.1.0"
WHEELS = REPOSITORY / "build" / "wheels"
NO_INDEX = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": os.fspath(WHEELS)}
PIP = ("-m", "pip", "--disable-pip-version-check")
WARNING = "Budget is no share of a core any more: 20 counts as 1"
LAUNCHER = '#!/bin/sh\nexec "{}" -I -m sysmonlx "$@"\n'
#: Programs are numbered; files are made and removed beside them.
LOAD = """
number=0
while :; do
    number=$((number + 1))
    /bin/true load $number
    : >"file$number" && rm "file$number"
done
"""


def _why_not() -> str:
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        return "this kernel gives no BTF"
    command = ("git", "cat-file", "-e", f"{OLD_COMMIT}^{{commit}}")
    try:
        found = subprocess.run(command, cwd=REPOSITORY, capture_output=True)
    except OSError:
        return "git is not installed"
    return "" if found.returncode == 0 else "no git history with version 0.1.0"


pytestmark = pytest.mark.skipif(bool(_why_not()), reason=_why_not())


def must(*words: str | Path, cwd: Path = REPOSITORY) -> None:
    """Run a command that has to work, without the network."""
    result = subprocess.run(
        words, cwd=cwd, env=NO_INDEX, capture_output=True, text=True
    )
    assert result.returncode == 0, f"{words}: {result.stdout}{result.stderr}"


def build_old(tree: Path) -> None:
    """Have version 0.1.0 in a directory, and a package of it."""
    tree.mkdir()
    archive = subprocess.run(
        ("git", "archive", OLD_COMMIT), cwd=REPOSITORY, capture_output=True, check=True
    )
    subprocess.run(("tar", "-x"), cwd=tree, input=archive.stdout, check=True)
    (tree / "build").mkdir()
    for name in ("build/deps.stamp", "ebpf/vmlinux.h"):  # of this very kernel
        shutil.copy(REPOSITORY / name, tree / name)
    must("touch", "build/deps.stamp", "ebpf/vmlinux.h", cwd=tree)
    must("make", "bpf", cwd=tree)

    offline = ("--no-build-isolation", "--no-deps", "-w", "build/wheel", ".")
    must(sys.executable, *PIP, "wheel", *offline, cwd=tree)


def install_old(tree: Path, prefix: Path) -> None:
    """Do what `make install` of version 0.1.0 does, with packages that are here."""
    own = prefix / "lib/sysmonlx"
    must("python3", "-m", "venv", own)
    (wheel,) = (tree / "build/wheel").glob("*.whl")
    must(own / "bin/python", *PIP, "install", wheel)
    program = prefix / "sbin/sysmonlx"
    program.parent.mkdir()
    program.write_text(LAUNCHER.format(own / "bin/python"))
    program.chmod(0o755)


class Installed(Installation):
    """The program below a prefix, whichever version that is."""

    def __init__(self, root: Path, prefix: Path) -> None:
        super().__init__(root)
        self.prefix = prefix
        del self.environment["PYTHONPATH"]
        self.metrics = root / "metrics.prom"
        self.load = root / "load"
        self.load.mkdir()
        text = (OLD_STATE / "config.xml").read_text()
        for old, new in (
            ("/var/log/sysmon.json", self.log),
            ("/run/sysmonlx-metrics.prom", self.metrics),
            ("/srv/", self.load),
        ):
            text = text.replace(old, f"{new}")
        self.config.write_text(text)

    def command(self, *words: str) -> list[str]:
        return [os.fspath(self.prefix / "sbin/sysmonlx"), *words]

    def call(
        self, *words: str, cwd: Path | None = None, prefix: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, *self.command("-nologo", *words)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            cwd=cwd,
        )

    def loads(self) -> list[int]:
        """Return the numbers of the load's programs that were reported."""
        return loads_of(self.events())

    def more_load(self, count: int = 200) -> None:
        """Wait until so many more programs of the load were reported."""
        before = len(self.loads())
        wait_until(lambda: len(self.loads()) >= before + count)


def loads_of(events: Sequence[Event]) -> list[int]:
    """Return the numbers of the load's programs among events."""
    lines = (event.get("CommandLine", "") for event in events)
    begin = "/bin/true load "
    return [int(line.removeprefix(begin)) for line in lines if line.startswith(begin)]


@contextmanager
def loaded(folder: Path) -> Iterator[None]:
    """Start programs and make files, as fast as one shell can."""
    process = subprocess.Popen(["/bin/sh", "-c", LOAD], cwd=folder)
    try:
        yield
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def old_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 0.1.0, built."""
    tree = tmp_path_factory.mktemp("version") / "old"
    build_old(tree)
    return tree


@pytest.fixture
def old(old_tree: Path, tmp_path: Path) -> Iterator[Installed]:
    """Version 0.1.0, installed below a prefix; nothing of it runs."""
    install_old(old_tree, tmp_path / "prefix")
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    made = Installed(root, tmp_path / "prefix")
    with removed_afterwards(made):
        yield made


@pytest.fixture
def upgraded(old: Installed) -> Iterator[Installed]:
    """Version 0.1.0 runs under load, with a configuration of that time; then
    `make install` of this version.
    """
    first = old.call("-accepteula", "-i", os.fspath(old.config))
    assert first.returncode == 0, first.stderr
    old.follow()
    with loaded(old.load):
        old.more_load()
        must("make", "install", f"prefix={old.prefix}")
        yield old


def test_this_version_over_0_1_0_under_load(upgraded: Installed) -> None:
    place, pid = upgraded, upgraded.pid
    place.more_load()  # the old one goes on, though its files are gone
    refuse_update(place)
    place.more_load()
    assert place.pid == pid
    policy = place.paths.policy_file.read_bytes()
    again = place.call("-accepteula", "-i", os.fspath(place.config))
    assert again.returncode == 0, again.stderr
    assert WARNING in again.stdout
    place.follow()
    assert daemons_below(place.root) == [place.pid] != [pid]
    assert place.paths.policy_file.read_bytes() != policy
    assert place.paths.programs_file.read_bytes()[:2] != b'{"'
    place.more_load()
    updated = place.call("-c", os.fspath(place.config))
    assert (updated.returncode, WARNING in updated.stdout) == (0, True)
    place.more_load()
    check_numbers(place.settle())
    check_programs(place)
    assert place.call("-u").returncode == 0
    check_nothing_is_left(place)


def test_restart_by_signal_takes_what_0_1_0_has_stored(upgraded: Installed) -> None:
    place = upgraded
    place.terminate()
    started = place.call("-service")
    assert started.returncode == 0, started.stderr
    place.follow()
    place.more_load()
    told = [each for each in place.settle() if each.get("ID") == "Configuration"]
    assert [WARNING in each["Description"] for each in told] == [True]
    check_numbers(place.events())
    check_programs(place)
    assert place.call("-u").returncode == 0
    check_nothing_is_left(place)


def refuse_update(place: Installed) -> None:
    """See that the old daemon is left as it is, and that one is told what helps."""
    before = place.paths.policy_file.read_bytes()
    result = place.call("-c", os.fspath(place.config))
    text = "Error: The daemon that runs is of another version: -i replaces it"
    assert (result.returncode, result.stderr) == (
        87,
        f"{text}; the old rules stay in force.\n",
    )
    assert WARNING in result.stdout
    assert place.paths.policy_file.read_bytes() == before
    assert place.call("-stats").stderr.startswith(text)
    assert place.call("-stats", "json").returncode == 0
    assert "/true" in place.call("-c").stdout  # the rules in force


def check_numbers(events: Sequence[Event]) -> None:
    """See that no number is missing, and none is there twice."""
    numbers = [int(event["EventRecordID"]) for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def check_programs(place: Installed) -> None:
    """See that programs are missing only where no daemon ran, or as 255 says."""
    events = [*place.events()]
    loads = loads_of(events)
    assert place.states() == ["Started", "Stopped", "Started"]
    (stopped,) = (at for at, each in enumerate(events) if is_stop(each))
    before, after = loads_of(events[:stopped]), loads_of(events[stopped:])
    assert loads == [*before, *after]
    for part in (before, after):
        left_out = {*range(part[0], part[-1] + 1)} - {*part}
        assert len(left_out) <= told_as_lost(events)


def is_stop(event: Event) -> bool:
    return event.get("State") == "Stopped"


def told_as_lost(events: Sequence[Event]) -> int:
    """Return how many records events 255 say were lost in the kernel or left out."""
    texts = (each.get("Description", "") for each in events)
    found = (re.findall(r"ProcessCreate[^:]*: (\d+)", text) for text in texts)
    return sum(int(each) for numbers in found for each in numbers)


def check_nothing_is_left(place: Installed) -> None:
    """See that of an installation only what must outlive it is there."""
    assert daemons_below(place.root) == []
    assert not place.keeper
    found = {each for each in place.root.rglob("*") if not each.is_dir()}
    files = {each for each in found if place.load not in each.parents}
    kept = {place.paths.record_id_file, place.paths.state_dir / "boot_offset"}
    assert files == {place.log, place.config} | kept
    assert not place.paths.run_dir.exists()
    assert not place.paths.config_dir.exists()
    below = {each.name for each in (place.prefix / "lib").iterdir()}
    assert below == {"sysmonlx"}
