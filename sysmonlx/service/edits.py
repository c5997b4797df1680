# SPDX-License-Identifier: MIT
"""An edited configuration is kept when a command replaces or removes it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sysmonlx.config.child import EMPTY
from sysmonlx.errors import InstallError
from sysmonlx.host.private_files import read_file
from sysmonlx.service.configuration import is_changed, stored_form
from sysmonlx.service.installed import Paths

#: Kept configurations: `config.xml.old` is the newest, and `.old.9` the oldest.
_MOST_KEPT = 10


def is_installed(paths: Paths) -> bool:
    """Tell whether a configuration is installed, whether or not it can be read."""
    return any(os.path.lexists(each) for each in (paths.config_file, paths.policy_file))


def kept_files(paths: Paths) -> Iterator[Path]:
    """Yield the names of kept configurations, the newest first."""
    newest = f"{paths.config_file}.old"
    for number in range(_MOST_KEPT):
        yield Path(f"{newest}.{number}" if number else newest)


def edited(paths: Paths) -> bytes | None:
    """Return the installed configuration where it is not a copy that a command made.

    A command stores a copy of the file that it was given, whose name the stored policy
    has. A file that was edited differs from that copy, or was put in force under its
    own name. A symbolic link is no file of ours: its target stays as it is.
    """
    if paths.config_file.is_symlink():
        return None
    try:
        found = read_file(paths.config_file)
    except OSError:
        return None
    stored = stored_form(paths)
    if found in (b"", EMPTY):
        return None
    if stored is None or stored.source == os.fspath(paths.config_file):
        return found
    return found if is_changed(paths.config_file, stored) else None


def keep_edited(paths: Paths, new: bytes | None = None) -> str:
    """Copy an edited configuration that `new` is to replace; return a line about it.

    The line is empty where there is nothing to keep.

    Raises:
        InstallError: the copy cannot be written.
    """
    data = edited(paths)
    if data is None or data == new:
        return ""
    newest, *_ = files = [*kept_files(paths)]
    with contextlib.suppress(OSError):
        if read_file(newest) == data:
            return f"Kept the edited configuration as {newest}"
    for older, newer in zip(files[:0:-1], files[-2::-1], strict=True):
        try:
            newer.replace(older)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise InstallError(f"Cannot keep {newer}: {error.strerror}") from error
    paths.write(newest, data)
    return f"Kept the edited configuration as {newest}"
