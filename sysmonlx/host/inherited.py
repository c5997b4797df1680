# SPDX-License-Identifier: MIT
"""What a program has from whoever started it, and must not depend on.

Standard descriptors may be closed. Signals may be blocked, and SIGCHLD may be ignored:
both outlive exec, and the kernel then keeps no status of a child that ends.
"""

from __future__ import annotations

import os
import signal
import sys


def put_right() -> None:
    """Have open standard descriptors, and signals as a program expects them.

    A signal that is ignored, as nohup(1) has it, stays ignored; SIGCHLD does not.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _open_standard()


def _open_standard() -> None:
    """Open those of standard input, output and error that are closed.

    The next file or pipe would have that number, and printed text would go there.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - until the end
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - until the end
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 - until the end
