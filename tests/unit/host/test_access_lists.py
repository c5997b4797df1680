# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sysmonlx.host.access_lists import gid_of, give_group


def test_group_is_known_by_name_and_by_number(tmp_path: Path) -> None:
    file = tmp_path / "group"
    file.write_text("root:x:0:\nadm.x:x:11:a,b\nadm:x:4:syslog\n")
    assert gid_of("adm", file) == 4
    assert gid_of("1234", file) == 1234
    with pytest.raises(OSError, match="no group wheel"):
        gid_of("wheel", file)
    with pytest.raises(OSError, match="no group ad"):
        gid_of("ad", file)


def test_group_gets_what_the_list_says_and_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    file.chmod(0o644)
    give_group(str(file), 4, 6, 4)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    value = os.getxattr(file, "system.posix_acl_access")
    assert b"\x08\0\4\0\4\0\0\0" in value  # the group 4 may read
    assert b"\x04\0\0\0" in value  # the group of the file may do nothing


def test_link_is_not_followed(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("")
    file.chmod(0o600)
    link.symlink_to(file)
    with pytest.raises(OSError, match=r"not supported|not permitted"):
        give_group(str(link), 4, 6, 4)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
