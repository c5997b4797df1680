# SPDX-License-Identifier: MIT
"""The live view without a daemon: shows what a pipe says, until SIGTERM or SIGINT.

A line of the pipe, whose descriptor is the first argument, is `start NAME`, `many N` or
`crash`. It is answered on the descriptor of the second argument by the time that the
events took the thread which hands them over, in ns a piece. The other arguments are the
words behind -t.
"""

from __future__ import annotations

import gc
import itertools
import os
import select
import signal
import sys
import time

from support.logview import values_of

from sysmonlx.cli.live import LiveView
from sysmonlx.cli.live_options import options_of
from sysmonlx.policy import Policy
from sysmonlx.service.foreground import Watched
from sysmonlx.viewer.fields import PLACES

_numbers = itertools.count(1)


_VALUES = values_of(1, User="alice", Image="/bin/prog", ParentImage="/bin/sh")
_PLACES = PLACES[1]


def start(name: str) -> tuple[int, list[str]]:
    """Return an event 1."""
    number, now_s = next(_numbers), time.time()
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now_s))
    values = [*_VALUES]
    values[_PLACES["UtcTime"]] = f"{clock}.{int(now_s * 1000) % 1000:03}"
    values[_PLACES["ProcessGuid"]] = f"{{{number}}}"
    values[_PLACES["ProcessId"]] = str(number)
    values[_PLACES["CommandLine"]] = f"prog {name}"
    return 1, values


def ordered(line: str) -> list[tuple[int, list[str]]]:
    """Return the events that an order asks for."""
    verb, _, rest = line.partition(" ")
    if verb == "start":
        return [start(rest)]
    if verb == "crash":
        return [(1, [])]  # no event is like this
    if verb == "many":
        return [start(f"many {n}") for n in range(int(rest))]
    return []


def main() -> int:
    """Run until a signal."""
    gc.disable()  # as the daemon does
    orders, answers = int(sys.argv[1]), int(sys.argv[2])
    view = LiveView(options_of(sys.argv[3:]))
    ends: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: ends.append(number))
    woken, wake = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(wake)
    view.begin(Watched(Policy, lambda: 0))
    os.write(answers, b"ready\n")
    count = 0
    while not ends:
        ready, _, _ = select.select([orders, woken], [], [], 5)
        if woken in ready:
            os.read(woken, 100)
        if orders not in ready:
            continue
        for line in os.read(orders, 65536).decode().splitlines():
            events = ordered(line)
            count += len(events)
            begun_ns = time.thread_time_ns()
            for event in events:
                view.show(*event)
            took_ns = time.thread_time_ns() - begun_ns
            os.write(answers, b"%d\n" % (took_ns // max(1, len(events))))
    view.summary({1: count}, 0, 0.0, 1.0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
