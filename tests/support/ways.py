# SPDX-License-Identifier: MIT
"""Ways to do something: each is done in a child, and told as a line of its own.

A program of actions calls `take` for each way. A line is the name of the way and the id
of its process, or "unable" where the machine does not let it. The test beside it reads
the lines into a `support.done.Done`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
#: Exit status of a way that the machine does not let one do.
UNABLE = 42


def take(name: str, act: Callable[[], None], directory: str) -> None:
    """Do one way in a child, in a directory of its own, and tell its process."""
    os.mkdir(f"{directory}/{name}", 0o755)
    pid = os.fork()
    if pid == 0:
        os.chdir(f"{directory}/{name}")
        try:
            act()
        except BaseException as error:
            print(f"{name}: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, UNABLE), (name, code)
    print(name, "unable" if code == UNABLE else pid, flush=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0) -> None:
    """Mount, or end the way where the machine does not let it."""
    words = (each.encode() or None for each in (source, target, kind))
    if LIBC.mount(*words, flags, None) != 0:
        os._exit(UNABLE)


def own_mounts() -> None:
    """Enter a mount namespace, with a directory to mount at."""
    assert LIBC.unshare(CLONE_NEWNS) == 0
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    os.mkdir("mnt")
