# SPDX-License-Identifier: MIT
"""A daemon whose rules let nothing pass, and self-tests of it in this process."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from support.running import Daemon

from sysmonlx.selftest.act import Action
from sysmonlx.selftest.actions import ACTIONS
from sysmonlx.selftest.run import Result, run
from sysmonlx.service import control
from sysmonlx.service.messages import SelfTestStep

#: A rule for each event that a self-test makes, which nothing on the machine fits but
#: the marks of `Daemon.settle`: the kernel discards all but processes.
NOTHING = (
    '<ProcessCreate onmatch="include">'
    '<CommandLine condition="begin with">/bin/true </CommandLine></ProcessCreate>'
) + "".join(
    f'<{tag} onmatch="include"><{field} condition="is">nothing</{field}></{tag}>'
    for tag, field in (
        ("ProcessTerminate", "Image"),
        ("FileCreateTime", "Image"),
        ("NetworkConnect", "Image"),
        ("DriverLoad", "ImageLoaded"),
        ("ImageLoad", "ImageLoaded"),
        ("CreateRemoteThread", "SourceImage"),
        ("RawAccessRead", "Device"),
        ("ProcessAccess", "SourceImage"),
        ("FileCreate", "TargetFilename"),
        ("FileCreateStreamHash", "Image"),
        ("FileDelete", "TargetFilename"),
        ("FileDeleteDetected", "Image"),
        ("ProcessTampering", "Image"),
        ("eBPFEvent", "BpfProgramName"),
        ("PipeEvent", "PipeName"),
        ("DnsQuery", "QueryName"),
    )
)


def step(daemon: Daemon, message: SelfTestStep) -> Mapping[str, object]:
    """Send a step of a self-test."""
    return control.request(daemon.paths.control_socket, message)


def self_test(
    daemon: Daemon, actions: Sequence[Action] = ACTIONS, wait_s: float = 1.5
) -> Result:
    """Test a daemon."""
    return run(lambda message: step(daemon, message), actions, wait_s)


_SYS_BPF, _LINK_BY_ID, _LINK_DETACH = 321, 30, 34


def take_off_cgroups(daemon: Daemon) -> None:
    """Take the daemon's programs off control groups, as an administrator can."""
    libc = ctypes.CDLL(None)

    def bpf(command: int, number: int) -> int:
        attributes = struct.pack("=I", number).ljust(32, b"\0")
        return int(libc.syscall(_SYS_BPF, command, attributes, len(attributes)))

    for path in Path(f"/proc/{daemon.process.pid}/fdinfo").iterdir():
        with suppress(OSError):  # closed meanwhile
            lines = path.read_text().splitlines()
            for number in (each.split()[1] for each in lines if "link_id:" in each):
                fd = bpf(_LINK_BY_ID, int(number))
                bpf(_LINK_DETACH, fd)  # no link but those of control groups takes it
                os.close(fd)
