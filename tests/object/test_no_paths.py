# SPDX-License-Identifier: MIT
"""An object tells nothing of the machine that built it."""

from __future__ import annotations

import os
import re

import pytest

from sysmonlx.capture.loader import OBJECTS

REPOSITORY = OBJECTS[0].parents[1]


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_files_are_named_from_the_top_of_the_checkout(path: os.PathLike[str]) -> None:
    with open(path, "rb") as file:
        data = file.read()
    assert os.fsencode(REPOSITORY) not in data
    named = set(re.findall(rb"\0([^\0]*\.bpf\.[ch])(?=\0)", data))
    assert b"./ebpf/kernel/path.bpf.h" in named
    assert [each for each in named if not each.startswith(b"./ebpf/")] == []
