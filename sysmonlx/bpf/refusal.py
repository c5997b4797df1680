# SPDX-License-Identifier: MIT
"""Why the kernel did not take a program."""

from __future__ import annotations

import os
import re
from errno import ESRCH

from sysmonlx.errors import LibbpfError

#: The reason that is given for a program whose hook the running kernel lacks.
NO_SUCH_HOOK = "this kernel has no such hook"
_VERDICT = re.compile(r"\n([^\n]+)\nprocessed \d+ insns")


def is_trampoline(section: str) -> bool:
    """Say whether a program patches kernel text, which lockdown refuses as a kind."""
    return section.lstrip("?").startswith(("fentry", "fexit", "fmod_ret", "lsm"))


def reason_of(error: LibbpfError) -> str:
    """Return why a program was refused, with the verifier's last words."""
    if error.errno == ESRCH:  # of libbpf: no such name in the kernel's BTF
        return NO_SUCH_HOOK
    words = _VERDICT.search(error.log)
    reason = os.strerror(error.errno)
    return f"{reason}, {words[1].strip()}" if words else reason
