# SPDX-License-Identifier: MIT
"""auditd, Debian's package, with rules for the same events; only when asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

AUDITD = "auditd"
_RULES = (
    "-a always,exit -F arch=b64 -S execve,execveat",
    "-a always,exit -F arch=b64 -S open,openat,openat2,creat -F a2&0100",
    "-a always,exit -F arch=b64 -S unlink,unlinkat,rename,renameat,renameat2",
    "-a always,exit -F arch=b64 -S connect,accept,accept4,sendto,recvfrom",
    "-a always,exit -F arch=b64 -S ptrace,bpf",
)


def is_wanted() -> bool:
    """Return whether auditd takes part: asked for, and there."""
    return os.environ.get("BENCH_PEERS") == "1" and shutil.which("auditctl") is not None


def install() -> None:
    """Install Debian's package."""
    if shutil.which("auditctl") is None:
        subprocess.run(["apt-get", "-qq", "-y", "install", "auditd"], check=False)


@contextmanager
def auditd() -> Iterator[None]:
    """Run auditd with rules for all these events meanwhile."""
    process = subprocess.Popen(["auditd", "-n"], stdout=subprocess.DEVNULL)
    try:
        for rule in _RULES:
            subprocess.run(["auditctl", *rule.split()], check=True)
        yield
    finally:
        subprocess.run(["auditctl", "-D"], check=False, stdout=subprocess.DEVNULL)
        process.terminate()
        process.wait(10)
