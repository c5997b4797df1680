# SPDX-License-Identifier: MIT
"""Acts on files: make, rename, delete; open a disk; make and open pipes."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import time

from sysmonlx.selftest.act import CannotError, Scene, Tell, Values, moment
from sysmonlx.selftest.expected import Some

#: Directory with the block devices of the machine.
_BLOCK_DEVICES = "/sys/block"
#: Loop devices that are tried.
_LOOPS = 2
#: A time to put a file's time back to: seconds since the epoch.
_LONG_AGO_S = 1_000_000_000


def _made(path: str) -> Values:
    created = moment(time.time())
    return {"TargetFilename": path, "CreationUtcTime": created, "Reason": "Create"}


def _make_file(path: str) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    os.close(os.open(path, flags, 0o700))


def create(scene: Scene, tell: Tell) -> None:
    """Make a file, and give it another name."""
    path = f"{scene.directory}/made"
    _make_file(path)
    tell("made", _made(path))
    os.rename(path, f"{scene.directory}/renamed")
    renamed: Some = {**moment(time.time()), "any": ["-"]}
    values: Values = {"CreationUtcTime": renamed, "Reason": "Rename"}
    tell("renamed", {**values, "TargetFilename": f"{scene.directory}/renamed"})


def put_back(scene: Scene, tell: Tell) -> None:
    """Put the time back of a file that another process has made."""
    path = f"{scene.directory}/stamped"
    child = os.fork()
    if not child:
        _make_file(path)
        os._exit(0)
    os.waitpid(child, 0)
    os.utime(path, (_LONG_AGO_S, _LONG_AGO_S))
    values: Values = {"CreationUtcTime": "2001-09-09 01:46:40.000"}
    before = {"PreviousCreationUtcTime": moment(time.time())}
    tell("", {**values, **before, "TargetFilename": path})


def set_attribute(scene: Scene, tell: Tell) -> None:
    """Give a file an extended attribute."""
    path, value = f"{scene.directory}/attributed", b"selftest"
    _make_file(path)
    os.setxattr(path, "trusted.sysmonlx", value)
    pairs = (
        f"{each}={hashlib.new(each, value, usedforsecurity=False).hexdigest()}"
        for each in scene.algorithms
    )
    made: Some = {**moment(time.time()), "any": ["-"]}
    values: Values = {"CreationUtcTime": made, "Hash": ",".join(pairs) or "-"}
    name = f"{path}:trusted.sysmonlx"
    tell("", {**values, "TargetFilename": name, "Contents": value.decode()})


def delete(scene: Scene, tell: Tell) -> None:
    """Make an executable file, and remove it."""
    path = f"{scene.directory}/deleted-{os.getpid()}"
    _make_file(path)
    os.unlink(path)
    tell("", {"TargetFilename": path, "IsExecutable": Some(any=["true", "-"])})


def open_disk(scene: Scene, tell: Tell) -> None:
    """Open a disk by a node of our own, and read nothing of it."""
    reason = "there is no disk that is built in"
    for name in _disks():
        path = f"{scene.directory}/{name}"
        try:
            os.mknod(path, stat.S_IFBLK | 0o600, _device(name))
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        except OSError as error:  # a container may use some devices only
            reason = f"{name} cannot be opened: {error.strerror}"
        else:
            tell("", {"Device": path})
            return
    raise CannotError(reason)


def _disks() -> list[str]:
    """Return disks that opening disturbs in no way: first those without any medium."""
    try:
        names = sorted(os.listdir(_BLOCK_DEVICES))
    except OSError:
        return []
    loops = [each for each in names if each.startswith("loop") and not _size(each)]
    return [*loops[:_LOOPS], *(each for each in names if _is_built_in(each))]


def _is_built_in(name: str) -> bool:
    return _size(name) > 0 and _text_of(name, "removable") == "0"


def _size(name: str) -> int:
    return int(_text_of(name, "size") or 0)


def _device(name: str) -> int:
    major, _, minor = _text_of(name, "dev").partition(":")
    return os.makedev(int(major), int(minor))


def _text_of(name: str, attribute: str) -> str:
    try:
        with open(f"{_BLOCK_DEVICES}/{name}/{attribute}", encoding="ascii") as file:
            return file.read().strip()
    except OSError:  # it has just been taken away
        return ""


def make_pipe(scene: Scene, tell: Tell) -> None:
    """Make a named pipe, and give a socket a name."""
    pipe, name = f"{scene.directory}/pipe", f"{scene.directory}/socket"
    os.mkfifo(pipe, 0o600)
    tell("named pipe", {"EventType": "CreatePipe", "PipeName": pipe})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as named:
        named.bind(name)
        tell("socket", {"EventType": "CreatePipe", "PipeName": name})


def open_pipe(scene: Scene, tell: Tell) -> None:
    """Open a named pipe of our own."""
    path = f"{scene.directory}/opened-pipe"
    os.mkfifo(path, 0o600)
    os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    nobody = dict.fromkeys(("TargetProcessGuid", "TargetProcessId", "TargetImage"), "-")
    tell("", {**nobody, "EventType": "ConnectPipe", "PipeName": path})
