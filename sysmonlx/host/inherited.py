# SPDX-License-Identifier: MIT
"""State inherited from the process that started a program, put right.

Standard descriptors may be closed. Signals may be blocked, and SIGCHLD may be ignored:
both outlive exec, and the kernel then keeps no status of a child that ends.
"""

from __future__ import annotations

import os
import signal
import sys


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
