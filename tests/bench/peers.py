# SPDX-License-Identifier: MIT
"""auditd, Debian's package, with rules for the same events; only when asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

AUDITD = "auditd"
#: As Debian's own rules begin; then what we report. Flags of openat2() are not seen.
_RULES = (
    "-b 8192",
    "-a always,exit -F arch=b64 -S execve,execveat,exit_group",
    "-a always,exit -F arch=b64 -S openat -F a2&0100",
    "-a always,exit -F arch=b64 -S open -F a1&0100",
    "-a always,exit -F arch=b64 -S creat,openat2",
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
    was_enabled = _is_enabled()
    process = subprocess.Popen(["auditd", "-n"], stdout=subprocess.DEVNULL)
    try:
        for rule in _RULES:
            _control(*rule.split())
        yield
    finally:
        _control("-D")
        process.terminate()
        process.wait(10)
        if not was_enabled:  # the kernel would go on without a reader
            _control("-e", "0")


def _is_enabled() -> bool:
    return "enabled 1" in _control("-s")


def _control(*words: str) -> str:
    done = subprocess.run(
        ["auditctl", *words], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout
