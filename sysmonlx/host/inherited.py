# SPDX-License-Identifier: MIT
"""State inherited from the process that started a program, put right.

Standard descriptors may be closed. Signals may be blocked, and SIGCHLD may be ignored:
both outlive exec, and the kernel then keeps no status of a child that ends. Limits, and
the right to processors, pass on to whatever a shell starts.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys

#: As LimitNOFILE= in the unit.
_DESCRIPTORS = 16384
#: Resources that a service may use without a limit.
_LIMITS_OF_SHELLS = (
    *(resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_AS),
    *(resource.RLIMIT_DATA, resource.RLIMIT_MEMLOCK),
)


def put_right() -> None:
    """Open standard descriptors that are closed; put signals back to their default.

    No signal is blocked any more, and SIGCHLD is not ignored. Other signals that are
    ignored, as nohup(1) does with SIGHUP, stay ignored.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _open_standard()


def _open_standard() -> None:
    """Open /dev/null as standard input, output and error where these are closed.

    Else the next file that is opened would get the number of one of them, and printed
    text would go into that file.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - until the end
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - until the end
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 - until the end


def lift_limits() -> None:
    """Lift limits that a shell has: as far as this process may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    is_more = hard == resource.RLIM_INFINITY or hard > _DESCRIPTORS
    _lift(resource.RLIMIT_NOFILE, _DESCRIPTORS, hard if is_more else _DESCRIPTORS)
    for limit in _LIMITS_OF_SHELLS:
        _lift(limit, resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def _lift(limit: int, soft: int, hard: int) -> None:
    """Set a limit; where that takes a right that is missing, go to its end."""
    most = resource.getrlimit(limit)[1]
    for each in ((soft, hard), (most, most)):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, each)
            return


def have_processors_as_others() -> None:
    """Run on all processors, as usual programs do, and never after all others.

    Else a service that was started by nice(1), chrt(1) or taskset(1) would have no turn
    while others work, and lose what they do.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    with contextlib.suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, 0) > 0:
            os.setpriority(os.PRIO_PROCESS, 0, 0)
    with contextlib.suppress(OSError, ValueError):
        os.sched_setaffinity(0, range(os.sysconf("SC_NPROCESSORS_CONF")))
