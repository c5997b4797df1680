# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from sysmonlx.processes.entry_points import entry_point
from sysmonlx.processes.process import Process, image_key

IN_CONTAINER = 99


def chain(*images: str, uid: int = 0, group: int = 1) -> Process:
    """Return the last of processes that started each other, the first has tgid 1."""
    process: Process | None = None
    for tgid, image in enumerate(images, 1):
        key = image_key(tgid, tgid, 1)
        process = Process(key, "", str(tgid), uid, image, parent=process)
        process.cgroup_id = group
    assert process is not None
    return process


def found(process: Process) -> str:
    return entry_point(process, lambda number: number == IN_CONTAINER)


CASES = {
    "sshd": (
        "/sbin/init",
        "/usr/sbin/sshd",
        "/usr/lib/openssh/sshd-session",
        "/bin/sh",
    ),
    "cron": ("/sbin/init", "/usr/sbin/cron", "/bin/sh", "/usr/bin/run-parts"),
    "console": ("/sbin/init", "/usr/bin/login", "/bin/bash"),
    "init": ("/usr/lib/systemd/systemd", "/usr/sbin/nginx", "/bin/sh"),
}


@pytest.mark.parametrize("kind", CASES)
def test_first_ancestor_that_lets_somebody_in_counts(kind: str) -> None:
    last = chain(*CASES[kind])
    assert found(last) == kind
    # Who logs in stays who logged in, whatever he runs.
    more = chain(*CASES[kind], "/usr/bin/su", "/usr/bin/login", "/usr/sbin/cron")
    assert found(more) == (kind if kind != "init" else "console")


def test_missing_ancestor_is_unknown_and_one_that_ended_was_kept() -> None:
    shell = chain("/sbin/init", "/usr/sbin/sshd", "/bin/sh")
    assert found(shell) == "sshd"
    shell.parent = None
    child = Process(image_key(9, 9, 1), "", "9", 0, "/bin/ls", parent=shell)
    assert found(child) == "sshd"
    orphan = Process(image_key(9, 9, 1), "", "9", 0, "/bin/ls")
    assert found(orphan) == "-"


def test_program_of_a_user_lets_nobody_in() -> None:
    """A copy named sshd, or one that a user mounts over the true one."""
    assert found(chain("/sbin/init", "/home/u/sshd", "/bin/sh")) == "init"
    init = chain("/sbin/init")
    shell = Process(image_key(2, 2, 1), "", "2", 1000, "/usr/sbin/sshd", parent=init)
    child = Process(image_key(3, 3, 1), "", "3", 1000, "/bin/sh", parent=shell)
    assert found(child) == "init"


def test_container_is_the_entry_of_all_that_runs_in_it() -> None:
    init = chain("/sbin/init", "/usr/bin/containerd-shim")
    inner = Process(image_key(9, 9, 1), "", "9", 0, "/bin/sh", parent=init)
    inner.cgroup_id = IN_CONTAINER
    assert found(inner) == "container"
    child = Process(image_key(10, 9, 1), "", "10", 0, "/usr/sbin/sshd", parent=inner)
    child.cgroup_id = IN_CONTAINER
    assert found(child) == "container"
    entered = chain("/sbin/init", "/usr/sbin/sshd", "/bin/sh")
    assert found(entered) == "sshd"
    runs = Process(image_key(11, 9, 1), "", "11", 0, "/bin/sh", parent=entered)
    runs.cgroup_id = IN_CONTAINER
    assert found(runs) == "container"


def test_kernel_threads_and_endless_chains() -> None:
    thread = chain("-")
    thread.pid, thread.is_kernel_thread = "2", True
    helper = Process(image_key(9, 9, 1), "", "9", 0, "/sbin/modprobe", parent=thread)
    assert found(helper) == "kernel"
    deep = chain("/sbin/init", "/usr/sbin/sshd", *["/bin/sh"] * 1000)
    assert found(deep) == "-"
    assert found(deep) == "-"
