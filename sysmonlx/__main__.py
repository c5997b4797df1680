# SPDX-License-Identifier: MIT
"""The program: `sysmonlx`, and `python -m sysmonlx`."""

import signal

#: A parent process may have set SIGINT to be ignored; it stays ignored then.
_CAN_BE_INTERRUPTED = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
if _CAN_BE_INTERRUPTED:
    # While modules are loaded Ctrl-C ends the process without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from sysmonlx.cli.main import main as run  # noqa: E402 - the signal comes first


def main() -> int:
    """Run the program; from here on Ctrl-C is an exception, but at the very end."""
    if not _CAN_BE_INTERRUPTED:
        return run()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return run()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    raise SystemExit(main())
