# SPDX-License-Identifier: MIT
"""A group that may read what is root's: POSIX access lists, acl(5).

The owner of a file may set its list without any capability, which chown(2) to another
group would need. `ls -l` shows the rights of the group where the mode has them, and a
"+" behind.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

from sysmonlx.host.private_files import read_file

GROUP_FILE = Path("/etc/group")
_FILE_LIMIT_BYTES = 4 << 20

_ATTRIBUTE = "system.posix_acl_access"
_VERSION = struct.pack("<I", 2)
#: Of <linux/posix_acl_xattr.h>, in the order in which the kernel wants them.
_USER_OBJ, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x04, 0x08, 0x10, 0x20
_NOBODY = 0xFFFFFFFF


class UnknownGroupError(OSError):
    """A group that has no entry."""

    def __init__(self, group: str) -> None:
        text = f"no group {group} in {GROUP_FILE}; its number is taken, too"
        super().__init__(2, text)


def gid_of(group: str, file: Path = GROUP_FILE) -> int:
    """Return the number of a group, which may be given as a number.

    Only the file is read: another source could make the caller wait.

    Raises:
        OSError: it is not known.
    """
    if group.isdecimal():
        return int(group)
    entry = rb"^%s:[^:\n]*:([0-9]{1,10}):" % re.escape(group.encode())
    found = re.search(entry, read_file(file, _FILE_LIMIT_BYTES), re.MULTILINE)
    if found is None:
        raise UnknownGroupError(group)
    return int(found[1])


def give_group(path: int | str, gid: int, owner: int, group: int) -> None:
    """Let the owner and one group do something with a file, and nobody else.

    `owner` and `group` are rights as bits: 4 to read, 2 to write, 1 to enter. A
    symbolic link is not followed.

    Raises:
        OSError: the file system has no such lists, or the file is not ours.
    """
    entries = (
        *((_USER_OBJ, owner, _NOBODY), (_GROUP_OBJ, 0, _NOBODY)),
        *((_GROUP, group, gid), (_MASK, group, _NOBODY), (_OTHER, 0, _NOBODY)),
    )
    value = _VERSION + b"".join(struct.pack("<HHI", *each) for each in entries)
    if isinstance(path, int):
        os.setxattr(path, _ATTRIBUTE, value)
    else:
        os.setxattr(path, _ATTRIBUTE, value, follow_symlinks=False)
