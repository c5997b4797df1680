# SPDX-License-Identifier: MIT
"""Requests without completion entries; runs as `actions_quiet.py NAME DIRECTORY`."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from functools import partial

from kernel.events.file.actions_file import make
from support.ring import (
    ASYNC,
    COOPERATIVE,
    DEFERRED,
    LINKED,
    OP_LINKAT,
    OP_OPENAT,
    OP_RENAMEAT,
    OP_UNLINKAT,
    POLLED,
    QuietRing,
)

DEVICE = "/dev/loop0"
DEADLINE_S = 20.0
#: Requests under way that have room: of all, and of one user.
ROOM, SHARE = 1024, 256
NOBODY = 65534
NEW = os.O_CREAT | os.O_WRONLY
#: Each kind of ring: its flags, those of its requests, and whether one call begins all.
KINDS = {
    "single": (0, 0, False),
    "batch": (0, 0, True),
    "polled": (POLLED, 0, False),
    "polled_batch": (POLLED, 0, True),
    "deferred": (DEFERRED, 0, True),
    "cooperative": (COOPERATIVE, 0, False),
    "in_worker": (0, ASYNC, True),
    "linked": (0, LINKED, True),
}
#: They are eight, as many as a ring takes at once; a link of them ends with a failure.
Operation = Callable[[QuietRing], None]
GOOD: tuple[Operation, ...] = (
    lambda ring: ring.name(OP_OPENAT, b"made", flags=NEW),
    lambda ring: ring.name(OP_OPENAT, b"old", flags=NEW),
    lambda ring: ring.name(OP_RENAMEAT, b"from", b"to"),
    lambda ring: ring.name(OP_LINKAT, b"old", b"linked"),
    lambda ring: ring.name(OP_UNLINKAT, b"gone"),
    lambda ring: ring.name(OP_OPENAT, DEVICE.encode()),
)
BAD: tuple[Operation, ...] = (
    lambda ring: ring.name(OP_OPENAT, b"none/made", flags=NEW),
    lambda ring: ring.name(OP_RENAMEAT, b"none", b"to"),
    lambda ring: ring.name(OP_LINKAT, b"none", b"linked"),
    lambda ring: ring.name(OP_UNLINKAT, b"none"),
    lambda ring: ring.name(OP_OPENAT, b"/dev/none"),
)


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, "the request was not carried out"
        time.sleep(0.001)


def opened() -> set[str]:
    """Return the paths of all descriptors of this process."""
    found = (f"/proc/self/fd/{each}" for each in os.listdir("/proc/self/fd"))
    return {os.readlink(each) for each in found if os.path.lexists(each)}


def is_done() -> bool:
    names = set(os.listdir())
    return {"made", "to", "linked"} <= names and not {"from", "gone"} & names


def run(ring: QuietRing, operations: tuple[Operation, ...], *, is_batch: bool) -> None:
    if is_batch:
        with ring.together():
            for each in operations:
                each(ring)
        return
    for each in operations:
        each(ring)


def all_kinds_of_requests(kind: str) -> None:
    flags, more, is_batch = KINDS[kind]
    for name in ("from", "gone"):
        make(name)
    with QuietRing(flags, more) as ring:
        run(ring, GOOD, is_batch=is_batch)
        wait_until(lambda: is_done() and DEVICE in opened())
        run(ring, BAD, is_batch=is_batch)
        if flags == DEFERRED:
            ring.look()


def never_come_back() -> None:
    """Begin requests, and never call the kernel for that ring again."""
    make("from")
    ring = QuietRing(DEFERRED)
    with ring.together():
        ring.name(OP_RENAMEAT, b"from", b"to")
        ring.name(OP_OPENAT, b"made", flags=NEW)
    wait_until(lambda: {"made", "to"} <= set(os.listdir()))
    print("done", flush=True)
    signal.pause()


def many() -> None:
    """Hundreds of requests, one after the other; none is waited for."""
    with QuietRing() as ring:
        for number in range(200):
            ring.name(OP_OPENAT, b"T%d" % number, flags=NEW)
        wait_until(lambda: len(os.listdir()) == 200)


def in_turns() -> None:
    """Memory of a request serves the next one: failures and successes by turns."""
    with QuietRing() as ring:
        for number in range(40):
            ring.name(OP_OPENAT, b"none/T", flags=NEW)
            ring.name(OP_RENAMEAT, b"none", b"T")
            ring.name(OP_OPENAT, b"T%d" % number, flags=NEW)
            wait_until(partial(os.path.exists, f"T{number}"))


def many_rings() -> None:
    """As many requests as have room; each ring, and so its memory, stays."""
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    kept = [QuietRing() for _ in range(ROOM + 76)]
    for number, ring in enumerate(kept):
        make(f"x{number}")
        ring.name(OP_RENAMEAT, b"x%d" % number, b"y%d" % number)
        wait_until(partial(os.path.exists, f"y{number}"))


def fail_often() -> None:
    """Those of a user who may not have more than so many; each has ended."""
    os.chmod(".", 0o777)  # what follows is done as another user
    os.setresuid(NOBODY, 0, 0)
    with QuietRing() as ring:
        for _ in range(SHARE + 44):
            ring.name(OP_OPENAT, b"none")
        ring.name(OP_OPENAT, DEVICE.encode())
        wait_until(lambda: DEVICE in opened())


def hold_more_than_a_share() -> None:
    """More of one user that stay under way than that user may have."""
    os.mkfifo("pipe")
    os.chmod("pipe", 0o666)
    os.chmod(".", 0o777)  # what follows is done as another user
    os.setresuid(NOBODY, 0, 0)
    with QuietRing(0, ASYNC) as ring:
        for _ in range(SHARE + 44):
            ring.name(OP_OPENAT, b"pipe")  # which nobody writes to


def run_another_image() -> None:
    """What a worker has opened is seen after this process runs another image."""
    ring = QuietRing(DEFERRED, ASYNC)
    ring.name(OP_OPENAT, DEVICE.encode(), flags=os.O_CLOEXEC)
    wait_until(lambda: DEVICE in opened())
    os.execv("/bin/true", ["true"])


def exit_at_once() -> None:
    """Begin a request and be gone: the kernel waits for it, or gives it up."""
    make("from")
    ring = QuietRing()
    ring.name(OP_RENAMEAT, b"from", b"to")
    os._exit(0)


if __name__ == "__main__":
    os.chdir(sys.argv[2])
    if sys.argv[1] in KINDS:
        all_kinds_of_requests(sys.argv[1])
    else:
        globals()[sys.argv[1]]()
