# SPDX-License-Identifier: MIT
"""Files set aside: what they are called, how many stay, how they are compressed.

`events.json` becomes `events.json-20261129T104512Z`, then perhaps that with `.gz`.
Names say the order in time. Everything here is done by threads, on files of root's that
have such a name and on no others; what is interrupted is done again at the next call.
"""

from __future__ import annotations

import calendar
import contextlib
import errno
import os
import re
import stat
import time
import zlib
from collections.abc import Callable
from typing import NamedTuple

from sysmonlx.host.root_files import UntrustedError, open_directory, open_in
from sysmonlx.policy import Rotation

_PART = ".gz.part"
_CHUNK_BYTES = 256 << 10
#: zlib writes the header of gzip with this size of its window.
_GZIP_WINDOW = 31
_LEVEL = 6
#: Pauses are as many times as long as the work between them: a quarter of a processor.
_PAUSES = 3
_ACCESS = "system.posix_acl_access"
#: How the time is written in a name.
_MOMENT = "%Y%m%dT%H%M%SZ"
#: More files of one second have the time of the next one.
_MOST_OF_A_SECOND = 100


class Aside(NamedTuple):
    """A file that was set aside, by the order in time; `name` is without `.gz`."""

    moment: str
    number: int
    name: str


def set_aside(path: str, wall_s: float) -> None:
    """Give a file another name, which says when; an empty one stays.

    Raises:
        OSError: that cannot be done, or the file is not one of root's.
    """
    folder, name = os.path.split(path)
    directory = open_directory(folder)
    try:
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not _is_ours(found):
            raise UntrustedError("the file is not a regular one of root's")
        if found.st_size:
            other = _free_name(directory, name, wall_s)
            os.rename(name, other, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        os.close(directory)


def tidy(path: str, rotation: Rotation) -> None:
    """Compress what was set aside, and remove the oldest beyond those that stay.

    Raises:
        OSError: the first error; the other files were seen to.
    """
    folder, name = os.path.split(path)
    directory = open_directory(folder)
    errors: list[OSError] = []
    try:
        # O_PATH, which the walk ends with, does not list.
        entries = os.listdir(f"/proc/thread-self/fd/{directory}")
        _remove_parts(directory, name, entries)
        found = sorted(set(_set_aside(name, entries)))
        for each in found[: -rotation.keep]:
            for suffix in ("", ".gz"):
                _try(errors, _remove, directory, each.name + suffix)
        for each in found[-rotation.keep :]:
            if rotation.compresses and each.name in entries:
                _try(errors, _compress, directory, each.name)
    finally:
        os.close(directory)
    if errors:
        raise errors[0]


def _is_ours(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_uid in (0, os.geteuid())


def _free_name(directory: int, name: str, wall_s: float) -> str:
    """Return a name that is behind those of all files that were set aside before.

    Within one second numbers tell the order, and a number that was removed is not given
    again. A clock that was put back makes no file older than those before it.

    Raises:
        FileExistsError: somebody has set aside a file at a time that does not exist.
    """
    moment, number = time.strftime(_MOMENT, time.gmtime(wall_s)), 0
    entries = os.listdir(f"/proc/thread-self/fd/{directory}")
    newest = max(_set_aside(name, entries), default=None)
    if newest is not None and newest.moment >= moment:
        moment, number = newest.moment, newest.number + 1
    if number >= _MOST_OF_A_SECOND:
        moment, number = _next_second(name, moment), 0
    return f"{name}-{moment}{f'.{number}' if number else ''}"


def _next_second(name: str, moment: str) -> str:
    try:
        wall_s = calendar.timegm(time.strptime(moment, _MOMENT)) + 1
        return time.strftime(_MOMENT, time.gmtime(wall_s))
    except (ValueError, OverflowError) as error:
        raise FileExistsError(errno.EEXIST, f"{name}-{moment} is taken") from error


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name) + r"-(\d{8}T\d{6}Z)(?:\.(\d{1,2}))?")


def _set_aside(name: str, entries: list[str]) -> list[Aside]:
    pattern = _pattern(name)
    plain = ((each.removesuffix(".gz"), each) for each in entries)
    matches = ((pattern.fullmatch(short), short) for short, _ in plain)
    return [Aside(m[1], int(m[2] or 0), short) for m, short in matches if m]


def _remove_parts(directory: int, name: str, entries: list[str]) -> None:
    pattern = _pattern(name)
    for each in entries:
        if each.endswith(_PART) and pattern.fullmatch(each.removesuffix(_PART)):
            with contextlib.suppress(OSError):
                _remove(directory, each)


def _try(
    errors: list[OSError], act: Callable[[int, str], None], directory: int, name: str
) -> None:
    try:
        act(directory, name)
    except OSError as error:
        errors.append(error)


def _remove(directory: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if _is_ours(found):
            os.unlink(name, dir_fd=directory)


def _compress(directory: int, name: str) -> None:
    """Write a file compressed beside it, then remove it.

    Raises:
        OSError: it stays as it is.
    """
    if _exists(directory, f"{name}.gz"):  # whole: only its removal was interrupted
        _remove(directory, name)
        return
    part = name + _PART
    source = open_in(directory, name, os.O_RDONLY)
    try:
        target = open_in(directory, part, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            _copy(source, target)
            os.fsync(target)
        finally:
            os.close(target)
        os.rename(part, f"{name}.gz", src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part, dir_fd=directory)
        raise
    finally:
        os.close(source)
    _remove(directory, name)


def _copy(source: int, target: int) -> None:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    before_s = time.thread_time()
    while data := os.read(source, _CHUNK_BYTES):
        _write(target, packer.compress(data))
        now_s = time.thread_time()
        time.sleep(_PAUSES * (now_s - before_s))
        before_s = time.thread_time()
    _write(target, packer.flush())
    found = os.fstat(source)
    with contextlib.suppress(OSError):  # a file without a list, or where none is known
        os.setxattr(target, _ACCESS, os.getxattr(source, _ACCESS))
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def _write(target: int, data: bytes) -> None:
    while data:
        data = data[os.write(target, data) :]
