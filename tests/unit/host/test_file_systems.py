# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
from pathlib import Path

from sysmonlx.host import file_systems
from sysmonlx.host.file_systems import is_local


def test_local_file_systems_are_known(tmp_path: Path) -> None:
    for path, answer in ((tmp_path, True), (Path("/proc"), False)):
        fd = os.open(path, os.O_PATH)
        assert is_local(fd) is answer
        os.close(fd)


def test_every_constant_of_a_file_system_is_32_bits() -> None:
    assert all(0 < each < 1 << 32 for each in file_systems._LOCAL)
