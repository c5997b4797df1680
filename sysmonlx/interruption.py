# SPDX-License-Identifier: MIT
"""Ctrl-C at the begin and at the end of a program, when nobody could catch it.

Import this before anything else: it loads no other module.
"""

# Made in C, and a part of the interpreter: `signal` loads modules for a while.
import _signal  # type: ignore[import-not-found]  # typeshed has no stub for it
from collections.abc import Callable

#: A parent process may have set SIGINT to be ignored; it stays ignored then.
_IS_POSSIBLE = _signal.getsignal(_signal.SIGINT) is not _signal.SIG_IGN


def ends_quietly() -> None:
    """Have Ctrl-C end the process without a traceback, while modules are loaded."""
    if _IS_POSSIBLE:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def caught_in(run: Callable[[], int]) -> int:
    """Return what `run` returns, in which Ctrl-C is an exception."""
    if not _IS_POSSIBLE:
        return run()
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    try:
        return run()
    finally:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
