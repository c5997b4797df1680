# SPDX-License-Identifier: MIT
"""Which file a process runs: its program, or the script that an interpreter runs."""

from __future__ import annotations

import posixpath
import re

_MISSING = "-"
#: A program that is all of these by the name that it is called by.
_MANY_IN_ONE = "busybox"
_INTERPRETER = re.compile(
    r"(?:sh|bash|dash|ash|ksh|mksh|zsh|fish|csh|tcsh"
    r"|(?:python|pypy|perl|ruby|node|nodejs|php|lua)[0-9.]*)"
)


def program_of(image: str, command_line: str, directory: str) -> str:
    """Return the path of a program, or of the script; "-" where it is not known.

    The script is the first argument without a hyphen in front. Arguments of a command
    line are told apart by blanks alone. `directory` is the current one.
    """
    called, *arguments = command_line.split() or [""]
    name = image.rpartition("/")[2]
    if name == _MANY_IN_ONE:
        name = called.rpartition("/")[2]
    if _INTERPRETER.fullmatch(name) is None:
        return image
    script = next((each for each in arguments if not each.startswith("-")), "")
    if not script:
        return image
    if not script.startswith("/"):
        if not directory.startswith("/"):
            return _MISSING
        script = f"{directory}/{script}"
    return posixpath.normpath(script).replace("//", "/", 1)
