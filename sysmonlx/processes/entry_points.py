# SPDX-License-Identifier: MIT
"""How somebody got into the machine who started a process: by its ancestors.

The first ancestor that lets people or jobs in counts: a person who logs in by sshd and
calls su came by sshd. Only programs of root count, from directories that root alone
writes. The answer is kept in the process: its ancestors are forgotten when they have
ended.
"""

from __future__ import annotations

from collections.abc import Callable

from sysmonlx.kernel_text import UNKNOWN
from sysmonlx.processes.process import Process

CONTAINER, INIT, KERNEL = "container", "init", "kernel"

_SYSTEM = ("/usr/", "/bin/", "/sbin/", "/lib/", "/nix/store/")
_PROGRAMS = {
    "sshd": ("sshd", "sshd-session", "dropbear", "tinysshd"),
    "cron": ("cron", "crond", "atd", "anacron", "fcron", "busybox-crond"),
    "console": (
        *("login", "agetty", "getty", "mingetty", "gdm-session-worker", "sddm-helper"),
        *("lightdm", "xrdp-sesman", "greetd"),
    ),
}
_BY_NAME = {name: kind for kind, names in _PROGRAMS.items() for name in names}
#: Entries that all descendants keep, unless they are put into a container.
_ENTERED = frozenset({*_PROGRAMS, CONTAINER})
#: Ancestors that are looked at; a chain of processes that run is seldom longer than 20.
_MOST = 256

#: Returns whether a control group, by its number, is in a container.
IsContainer = Callable[[int], bool]


def entry_point(process: Process, is_container: IsContainer) -> str:
    """Return the kind of entry of a process, "-" where an ancestor is missing.

    One of sshd, cron, console, container, init (a service), kernel.
    """
    parent = process.parent
    if parent is None:
        return _found(process, is_container)
    try:
        found = parent.entry
    except AttributeError:  # nobody has asked yet
        return _found(process, is_container)
    if found not in _ENTERED or process.cgroup_id != parent.cgroup_id:
        found = _next(process, found, is_container)
    process.entry = found
    return found


def _found(process: Process, is_container: IsContainer) -> str:
    chain: list[Process] = []
    each: Process | None = process
    found = ""
    while each is not None and len(chain) < _MOST:
        found = getattr(each, "entry", "")
        if found:
            break
        chain.append(each)
        each = each.parent
    for each in reversed(chain):
        found = each.entry = _next(each, found, is_container)
    return found


def _next(process: Process, of_parent: str, is_container: IsContainer) -> str:
    """Return the entry of a process by that of its parent; "": it has none known."""
    if is_container(process.cgroup_id):
        return CONTAINER
    if process.is_kernel_thread:
        return KERNEL
    if process.tgid == 1:
        return INIT
    if of_parent in _ENTERED:
        return of_parent
    kind = "" if process.uid else _kind_of(process.image)
    return kind or of_parent or UNKNOWN


def _kind_of(image: str) -> str:
    kind = _BY_NAME.get(image.rpartition("/")[2], "")
    return kind if image.startswith(_SYSTEM) else ""
