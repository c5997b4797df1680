# SPDX-License-Identifier: MIT
"""Give up every capability that is needed no more: capabilities(7)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Iterable
from functools import cache

from sysmonlx.errors import CaptureError

CAP_DAC_READ_SEARCH = 2
CAP_NET_ADMIN = 12
CAP_SYS_PTRACE = 19
CAP_PERFMON = 38
CAP_BPF = 39

#: What the daemon keeps. The first two: new programs and maps at `-c`; NET_ADMIN:
#: programs on control groups; SYS_PTRACE and DAC_READ_SEARCH: /proc/PID/exe of others.
KEPT = frozenset(
    {CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH}
)

#: What people call them, capabilities(7).
NAMES = {
    **{CAP_BPF: "BPF", CAP_PERFMON: "PERFMON", CAP_NET_ADMIN: "NET_ADMIN"},
    **{CAP_SYS_PTRACE: "SYS_PTRACE", CAP_DAC_READ_SEARCH: "DAC_READ_SEARCH"},
}

#: Numbers of prctl(2), from <linux/prctl.h>.
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

#: capset(2): the version with two words for each set.
_VERSION_3 = 0x20080522
_MOST_CAPABILITIES = 64

#: The user and group that own nothing.
_NOBODY = 65534

#: A thread that was just started gives up its own within this time.
_THREADS_WAIT_S = 1.0


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def effective() -> frozenset[int]:
    """Return the capabilities in force for this thread."""
    return _members(_capget(), "effective")


def bounding() -> frozenset[int]:
    """Return the capabilities that a program started from here could ever get."""
    libc = _libc()
    numbers = range(_MOST_CAPABILITIES)
    return frozenset(n for n in numbers if _prctl(libc, _PR_CAPBSET_READ, n) == 1)


def drop(keep: frozenset[int] = KEPT) -> frozenset[int]:
    """Keep no capability but those of `keep`, for good; return what is left.

    A capability that this process does not have is no error. Programs started later get
    no more either: the bounding set shrinks (where we may change it), the inheritable
    and ambient sets are emptied, set-user-ID programs give nothing.

    Raises:
        CaptureError: the kernel refused, or another thread has more: each has its own.
    """
    _await_threads(keep)
    libc = _libc()
    _checked(_prctl(libc, _PR_SET_NO_NEW_PRIVS, 1), "no_new_privs")
    _prctl(libc, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)  # Linux 4.3 or newer
    for number in bounding() - keep:
        _prctl(libc, _PR_CAPBSET_DROP, number)  # needs CAP_SETPCAP
    _capset(libc, _members(_capget(), "permitted") & keep)
    left = effective()
    if left - keep:
        raise CaptureError(f"Cannot drop capabilities: {sorted(left - keep)} stay")
    return left


def drop_in_thread() -> None:
    """Give up every capability of the calling thread, for good; others keep theirs.

    Raises:
        CaptureError: the kernel refused.
    """
    libc = _libc()
    _checked(_prctl(libc, _PR_SET_NO_NEW_PRIVS, 1), "no_new_privs")
    _capset(libc, ())


def become_nobody() -> None:
    """Become the user "nobody", for good, as far as this process may.

    Capabilities are no longer in force afterwards; `keep_only` removes them.
    """
    libc = _libc()
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    _prctl(libc, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for number in bounding():
        _prctl(libc, _PR_CAPBSET_DROP, number)
    _prctl(libc, _PR_SET_KEEPCAPS, 1)
    with contextlib.suppress(OSError):
        os.setgroups([])
    with contextlib.suppress(OSError):
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    with contextlib.suppress(OSError):
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    _prctl(libc, _PR_SET_KEEPCAPS, 0)


def keep_only(keep: frozenset[int]) -> None:
    """Keep no capability but those of `keep`, in this thread, for good.

    Raises:
        CaptureError: the kernel refused.
    """
    _capset(_libc(), _members(_capget(), "permitted") & keep)


def _await_threads(keep: frozenset[int]) -> None:
    deadline = time.monotonic() + _THREADS_WAIT_S
    while more := _threads_with_more(keep):
        if time.monotonic() > deadline:
            text = f"other threads keep theirs ({more})"
            raise CaptureError(f"Cannot drop capabilities: {text}")
        time.sleep(0.001)


def _threads_with_more(keep: frozenset[int]) -> int:
    """Return how many other threads have a capability that is not to be kept."""
    own = str(threading.get_native_id())
    beyond = ~sum(1 << number for number in keep)
    found = [_permitted(name) for name in os.listdir("/proc/self/task") if name != own]
    return sum(1 for each in found if each & beyond)


def _permitted(thread: str) -> int:
    """Return the permitted set of a thread as bits, none when it has ended: proc(5)."""
    try:
        with open(f"/proc/self/task/{thread}/status", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(text.partition(b"\nCapPrm:")[2].split(maxsplit=1)[0], 16)


def _capget() -> ctypes.Array[_Data]:
    data = (_Data * 2)()
    header = _Header(_VERSION_3, 0)
    _checked(_libc().capget(ctypes.byref(header), data), "capget")
    return data


def _capset(libc: ctypes.CDLL, capabilities: Iterable[int]) -> None:
    data = (_Data * 2)()
    for number in capabilities:
        data[number // 32].effective |= 1 << number % 32
        data[number // 32].permitted |= 1 << number % 32
    _checked(libc.capset(ctypes.byref(_Header(_VERSION_3, 0)), data), "capset")


def _members(data: ctypes.Array[_Data], which: str) -> frozenset[int]:
    bits = getattr(data[0], which) | getattr(data[1], which) << 32
    return frozenset(n for n in range(_MOST_CAPABILITIES) if bits >> n & 1)


def _prctl(libc: ctypes.CDLL, option: int, argument: int) -> int:
    unsigned = ctypes.c_ulong
    return int(libc.prctl(option, unsigned(argument), unsigned(0), unsigned(0), 0))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, call: str) -> None:
    if result != 0:
        reason = os.strerror(ctypes.get_errno())
        raise CaptureError(f"Cannot drop capabilities: {call}: {reason}")
