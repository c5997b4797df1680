# SPDX-License-Identifier: MIT
"""What whoever starts a program hands down to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
CONFIGURATION = '<Sysmon schemaversion="4.90"><EventFiltering/></Sysmon>'

#: How a parent may have its signals and descriptors before it runs a program.
PARENTS = {
    "children are not waited for": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "nothing open": "os.closerange(0, 3)",
}


def status_of(parent: str, *words: str) -> int:
    run = f"os.execv(sys.executable, [sys.executable, '-P', '-m', *{words!r}])"
    return subprocess.run(
        [sys.executable, "-P", "-c", f"import os, signal, sys\n{parent}\n{run}"],
        env={**os.environ, "PYTHONPATH": os.fspath(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    ).returncode


@pytest.mark.parametrize("parent", PARENTS)
def test_program_runs_whatever_it_inherits(tmp_path: Path, parent: str) -> None:
    path = tmp_path / "config.xml"
    path.write_text(CONFIGURATION)
    words = "sysmonlx", "-nologo", "-test", os.fspath(path)
    assert status_of(PARENTS[parent], *words) == 0


def test_viewer_runs_with_nothing_open() -> None:
    assert status_of("os.closerange(0, 3)", "sysmonlx.viewer", "--help") == 0


def test_signals_are_as_a_program_expects_them() -> None:
    code = (
        "import contextlib, signal\n"
        "from sysmonlx.sigma_tool import main as sigma\n"
        "from sysmonlx.viewer import main as logview\n"
        "for each in sigma, logview:\n"
        "    signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
        "    with contextlib.suppress(SystemExit): each.main(['--help'])\n"
        "    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL\n"
        "    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())"
    )
    environment = {**os.environ, "PYTHONPATH": os.fspath(REPOSITORY)}
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


#: However nice these tests run, what they start begins with a nice value of 0.
_AS_USUAL = ("nice", "-n", str(-os.getpriority(os.PRIO_PROCESS, 0)))
#: Says what the service would have, one word a thing.
_TELL = """
import os, resource, sys
from sysmonlx.host import inherited
inherited.lift_limits()
inherited.have_processors_as_others()
names = ("CPU", "FSIZE", "AS", "DATA", "MEMLOCK")
limits = [resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in names]
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
print(
    all(soft == hard for soft, hard in limits),
    soft == min(hard, 16384),
    os.sched_getscheduler(0),
    os.getpriority(os.PRIO_PROCESS, 0),
    len(os.sched_getaffinity(0)),
)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(
    "starter",
    [
        "nice -n 19",
        "chrt --idle 0",
        "taskset 1",
        "prlimit --nofile=40: --cpu=9: --fsize=9: --as=999999999: --data=99999999:"
        " --memlock=0:",
        "prlimit --nofile=50:50",
    ],
)
def test_service_has_what_a_shell_has_not(starter: str) -> None:
    answer = subprocess.run(
        [*_AS_USUAL, *starter.split(), sys.executable, "-P", "-c", _TELL],
        env={**os.environ, "PYTHONPATH": os.fspath(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    processors = len(os.sched_getaffinity(1))
    assert answer.stdout.split() == ["True", "True", "0", "0", f"{processors}"]


@pytest.mark.parametrize(("nice", "kept"), [(-5, -5), (0, 0), (7, 0)])
def test_who_was_given_more_keeps_it(nice: int, kept: int) -> None:
    code = (
        "import os, sys\n"
        "from sysmonlx.host import inherited\n"
        f"os.setpriority(os.PRIO_PROCESS, 0, {nice})\n"
        "inherited.have_processors_as_others()\n"
        f"sys.exit(os.getpriority(os.PRIO_PROCESS, 0) != {kept})\n"
    )
    if os.geteuid() != 0:
        pytest.skip("needs root")
    words = [sys.executable, "-P", "-c", code]
    environment = {**os.environ, "PYTHONPATH": os.fspath(REPOSITORY)}
    assert subprocess.run(words, env=environment, check=False).returncode == 0
