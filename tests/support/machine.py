# SPDX-License-Identifier: MIT
"""A first process in namespaces and a control group of its own, and all below it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from support.running import DEADLINE_S, wait_until

from sysmonlx.capture.kernel_facts import cgroup2_mount

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Of sh(1): a control group, then the command that runs in it.
ENTER_GROUP = 'echo 0 >"$0/cgroup.procs" && exec "$@"'
NAMESPACES = ("--mount", "--uts", "--ipc", "--pid", "--cgroup")


def make_group(name: str) -> Path:
    """Make a control group for this process's use.

    Raises:
        OSError: no control groups of version 2 can be made.
    """
    group = Path(cgroup2_mount()) / f"sysmonlx-{name}-{os.getpid()}"
    group.mkdir()
    return group


def remove_group(group: Path) -> None:
    """Remove a control group and those below it, once their processes are gone."""
    groups = [Path(path) for path, _, _ in os.walk(group, topdown=False)]
    wait_until(lambda: all(map(_is_removed, groups)))


def _is_removed(group: Path) -> bool:
    with contextlib.suppress(OSError):  # busy, until the last process is gone
        group.rmdir()
    return not group.exists()


class Machine:
    """A machine of the same kernel; what it writes is gone with it.

    Args:
        top: An empty directory; `top/machine` is made for the script.
        script: A script of this directory, which makes a root and a first process.
        words: What the script gets behind `top/machine`.
        namespaces: Options of unshare(1) and nsenter(1).

    Raises:
        OSError: no control groups of version 2 can be made.
    """

    #: What its commands have in their environment beside PATH.
    environment: tuple[str, ...] = ()
    deadline_s = DEADLINE_S

    def __init__(
        self,
        top: Path,
        script: str,
        words: Sequence[str | Path],
        namespaces: tuple[str, ...] = NAMESPACES,
    ) -> None:
        self._namespaces = namespaces
        self._group = make_group(script.partition("_")[0])
        self._log = top / "first.log"
        (top / "machine").mkdir()
        command: list[str | Path] = [
            *("setpriv", "--pdeathsig=KILL"),  # for tests that are killed
            *("unshare", *namespaces, "--fork", "--kill-child"),
            *("sh", Path(__file__).with_name(script), top / "machine", *words),
        ]
        with open(self._log, "wb") as log:
            self._unshare = subprocess.Popen(
                ["sh", "-c", ENTER_GROUP, self._group, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def is_up(self) -> bool:
        """Tell whether all that the first process was to start is there."""
        raise NotImplementedError

    def wait_until_up(self) -> None:
        """Return when the machine is up; fail if it has ended."""
        has_ended = self._unshare.poll
        wait_until(lambda: has_ended() is not None or self.is_up())
        assert has_ended() is None, self._log.read_text()

    def call(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine to its end."""
        return subprocess.run(
            [
                *("sh", "-c", ENTER_GROUP, self._group),
                *("nsenter", f"--target={self._first_pid()}", *self._namespaces),
                *("--root", "--wd", "env", "-i", f"PATH={PATH}"),
                *(*self.environment, *words),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self.deadline_s,
            check=False,
        )

    def _first_pid(self) -> int:
        """Return the first process as this side sees it, 0 when there is none yet."""
        pid = self._unshare.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return int(children[0]) if children else 0
        return 0

    def checked(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command that has to work, to its end."""
        result = self.call(*words)
        assert result.returncode == 0, f"{words}: {result.stdout}{result.stderr}"
        return result

    def must(self, *words: str | Path) -> str:
        """Run a command that has to work; return its standard output."""
        return self.checked(*words).stdout

    def end(self) -> None:
        """End all its processes and remove what it had of the control groups."""
        if self._unshare.poll() is None:
            os.kill(self._first_pid() or self._unshare.pid, signal.SIGKILL)
        self._unshare.wait()
        remove_group(self._group)
