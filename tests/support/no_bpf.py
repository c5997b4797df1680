# SPDX-License-Identifier: MIT
"""Runs a program under a filter of system calls that refuses bpf(2), as runtimes do.

python3 no_bpf.py ERRNO COMMAND...
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

_NUMBERS = {"x86_64": 321, "aarch64": 280}
_LOAD, _IS_EQUAL, _RETURN = 0x20, 0x15, 0x06  # <linux/bpf_common.h>
_ERRNO, _ALLOW = 0x50000, 0x7FFF0000  # <linux/seccomp.h>
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2  # <linux/prctl.h>


def main() -> None:
    """Put the filter in force, and become the command."""
    number = _NUMBERS[os.uname().machine]
    code = (
        (_LOAD, 0, 0, 0),
        (_IS_EQUAL, 0, 1, number),
        (_RETURN, 0, 0, _ERRNO | int(sys.argv[1])),
        (_RETURN, 0, 0, _ALLOW),
    )
    packed = b"".join(struct.pack("HBBI", *each) for each in code)
    data = ctypes.create_string_buffer(packed)
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(data))
    libc = ctypes.CDLL(None)
    assert libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(_SECCOMP, _FILTER, program, 0, 0) == 0
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
