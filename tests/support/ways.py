# SPDX-License-Identifier: MIT
"""Ways to do something: each is done in a child, and told as a line of its own.

A program of actions notes each way by `way`, and calls `take` for it. A line is the
name of the way and the id of its process, or "unable" where the machine does not let
it. The test beside it reads the lines into a `support.done.Done`.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
LIBC.mmap.restype = LIBC.shmat.restype = LIBC.sbrk.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int),
    *(ctypes.c_int, ctypes.c_long),
]
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
#: Protections and flags of mmap(2); LOW is MAP_32BIT.
READ, WRITE, EXEC = 1, 2, 4
PRIVATE, FIXED, ANONYMOUS, LOW = 0x2, 0x10, 0x20, 0x40
PAGE = 4096
_SHM_EXEC, FAILED = 0o100000, ctypes.c_void_p(-1).value
#: Exit status of a way that the machine does not let one do.
UNABLE = 42

#: The ways of the program by their names.
WAYS: dict[str, Callable[[], None]] = {}


def way(function: Callable[[], None]) -> Callable[[], None]:
    """Note a way under the name of its function."""
    WAYS[function.__name__] = function
    return function


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


def overlay() -> None:
    """Mount an overlay at "merged" above the files in "lower", or end the way."""
    own_mounts()
    os.makedirs("lower", exist_ok=True)
    for name in ("upper", "work", "merged"):
        os.mkdir(name)
    layers = b"lowerdir=lower,upperdir=upper,workdir=work"
    if LIBC.mount(b"none", b"merged", b"overlay", 0, layers) != 0:
        os._exit(UNABLE)


def executable_shared_memory() -> None:
    """Attach a page of System V's shared memory of which code can be run."""
    number = LIBC.shmget(0, PAGE, 0o1700)
    address = LIBC.shmat(number, None, _SHM_EXEC)
    LIBC.shmctl(number, 0, None)
    assert address != FAILED


def tool(*words: str) -> None:
    """Run a program quietly and without settings, or end the way: it is not here."""
    found = shutil.which(words[0])
    if found is None:
        os._exit(UNABLE)
    quiet = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": os.getcwd()}
    subprocess.run([found, *words[1:]], check=True, env=quiet, capture_output=True)
