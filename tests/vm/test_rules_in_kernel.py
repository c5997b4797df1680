# SPDX-License-Identifier: MIT
"""Rules on another kernel: judged there where it can, with the same result."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest
from support.watch import watching

from sysmonlx.capture.kernel_facts import facts_of_kernel

pytestmark = pytest.mark.kernel

RULES = (
    '<ProcessCreate onmatch="exclude"/>'
    '<FileCreate onmatch="include"><Rule groupRelation="and">'
    '<TargetFilename condition="contains">/wanted-</TargetFilename>'
    '<Image condition="contains">python</Image></Rule></FileCreate>'
)
NOT_TO = (
    '<NetworkConnect onmatch="exclude"><DestinationPort>{}</DestinationPort>'
    "</NetworkConnect>"
)
FILES = 20
SENDERS = 10


def test_rules_are_judged_in_the_kernel_where_it_can(tmp_path: Path) -> None:
    in_kernel = facts_of_kernel("")["has_bpf_loop"]
    with watching(tmp_path / "root", RULES) as daemon:
        before = daemon.stats()["records"]["file_create"]["filtered_in_kernel"]
        for number in range(FILES):
            (tmp_path / f"plain-{number}").touch()
            (tmp_path / f"wanted-{number}").touch()
        events = [each for each in daemon.settle() if each["EventID"] == "11"]
        stats = daemon.stats()
    names = [Path(each["TargetFilename"]).name for each in events]
    assert names == [f"wanted-{number}" for number in range(FILES)]
    place = stats["events"]["11"]["filtered_in"]
    expected = "kernel" if in_kernel else "user space (this kernel has no bpf_loop())"
    assert place == expected
    discarded = stats["records"]["file_create"]["filtered_in_kernel"] - before
    assert (discarded >= FILES) == in_kernel


def test_datagrams_are_judged_in_the_kernel_where_it_can(tmp_path: Path) -> None:
    in_kernel = facts_of_kernel("")["has_bpf_loop"]
    # each has a port of its own to the end
    sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(2 + SENDERS * 2)]
    wanted, other, *senders = sockets
    with contextlib.ExitStack() as opened:
        for each in sockets:
            opened.enter_context(each)
        for receiver in (wanted, other):
            receiver.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        rules = NOT_TO.format(port) + '<ProcessCreate onmatch="exclude"/>'
        with watching(tmp_path / "root", rules) as daemon:
            before = daemon.stats()["records"]["network_connect"]["filtered_in_kernel"]
            for number, sender in enumerate(senders):
                receiver = (wanted, other)[number % 2]
                sender.sendto(b"", receiver.getsockname())
                receiver.recv(1)
            events = daemon.settle()
            stats = daemon.stats()
        ports = [each.get("DestinationPort", "") for each in events]
        assert ports.count(str(wanted.getsockname()[1])) == SENDERS * 2
        assert str(port) not in ports
    discarded = stats["records"]["network_connect"]["filtered_in_kernel"] - before
    assert (discarded >= SENDERS * 2) == in_kernel
