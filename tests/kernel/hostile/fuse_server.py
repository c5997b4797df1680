# SPDX-License-Identifier: MIT
"""A FUSE file system that lies and hangs as it is told; run as a program.

    fuse_server.py MOUNTPOINT CONTROL [UID]

It mounts in a mount namespace of its own (`nsenter -m -t PID` gets in), gives up root
for UID, prints "ready" and serves until it is killed. What it serves:

CONTROL/files/NAME       content of MOUNTPOINT/NAME, read anew for each request
CONTROL/attributes.json  {"NAME": {"ino": 1, "size": 2, "mtime_ns": 3, "ctime_ns": 4}}:
                         what it says of a file instead of the truth
CONTROL/hang             while it exists, no READ is answered
CONTROL/hang-all         while it exists, nothing but the end of files is answered

What was not answered is when the file is gone.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import stat
import struct
import sys
from pathlib import Path
from typing import Any, NamedTuple

#: <linux/fuse.h>: requests, and the header that all begin with.
LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE = 1, 2, 3, 14, 15, 17, 18
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, BATCH_FORGET = 25, 26, 27, 28, 29, 42
IN_HEADER, OUT_HEADER = struct.Struct("=IIQQIIII"), struct.Struct("=IiQ")
ATTRIBUTES = struct.Struct("=6Q10I")
ENTRY, ATTRIBUTES_OUT = struct.Struct("=4Q2I"), struct.Struct("=Q2I")
OPEN_OUT, INIT_OUT = struct.Struct("=Q2I"), struct.Struct("=4I2H2I2H8I")
READ_IN = struct.Struct("=QQI")
ROOT = 1
VERSION = 7, 31
SECOND = 1_000_000_000
REQUEST_BYTES = 1 << 20
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18


class Request(NamedTuple):
    """One question of the kernel."""

    opcode: int
    unique: int
    node: int
    body: bytes


class Server:
    """Answers what the kernel asks of one mount."""

    def __init__(self, device: int, control: Path, uid: int) -> None:
        self._device = device
        self._control = control
        self._uid = uid
        self._names: list[str] = []
        self._waiting: list[Request] = []

    def serve(self) -> None:
        """Answer until the mount is gone."""
        while True:
            ready, _, _ = select.select([self._device], [], [], 0.02)
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                self._take(each)
            if ready:
                data = os.read(self._device, REQUEST_BYTES)
                _, opcode, unique, node, *_ = IN_HEADER.unpack_from(data)
                self._take(Request(opcode, unique, node, data[IN_HEADER.size :]))

    def _take(self, request: Request) -> None:
        if self._hangs(request.opcode):
            self._waiting.append(request)
        elif request.opcode not in (FORGET, BATCH_FORGET):
            self._answer(request)

    def _hangs(self, opcode: int) -> bool:
        if opcode in (INIT, FORGET, BATCH_FORGET, RELEASE, RELEASEDIR):
            return False
        is_read = opcode == READ and (self._control / "hang").exists()
        return is_read or (self._control / "hang-all").exists()

    def _answer(self, request: Request) -> None:
        error, data = 0, b""
        try:
            data = self._data(request)
        except OSError as failure:
            error = -(failure.errno or errno.EIO)
        size = OUT_HEADER.size + len(data)
        try:
            os.write(self._device, OUT_HEADER.pack(size, error, request.unique) + data)
        except FileNotFoundError:  # whoever asked was killed
            return

    def _data(self, request: Request) -> bytes:
        opcode = request.opcode
        if opcode == INIT:
            return INIT_OUT.pack(
                *(*VERSION, 65536, 0, 16, 12, 65536, 1, 16, 0, *[0] * 8)
            )
        if opcode == LOOKUP:
            node = self._node(os.fsdecode(request.body.rstrip(b"\0")))
            return ENTRY.pack(node, 0, 0, 0, 0, 0) + self._attributes(node)
        if opcode == GETATTR:
            return ATTRIBUTES_OUT.pack(0, 0, 0) + self._attributes(request.node)
        if opcode in (OPEN, OPENDIR):
            return OPEN_OUT.pack(1, 0, 0)
        if opcode == READ:
            _, offset, size = READ_IN.unpack_from(request.body)
            return self._content(request.node, offset, size)
        if opcode == STATFS:
            return bytes(80)
        if opcode in (FLUSH, RELEASE, RELEASEDIR, READDIR):
            return b""
        raise OSError(errno.ENOSYS, "not served")

    def _node(self, name: str) -> int:
        if not (self._control / "files" / name).exists():
            raise FileNotFoundError(errno.ENOENT, name)
        if name not in self._names:
            self._names.append(name)
        return ROOT + 1 + self._names.index(name)

    def _path(self, node: int) -> Path:
        return self._control / "files" / self._names[node - ROOT - 1]

    def _content(self, node: int, offset: int, size: int) -> bytes:
        with open(self._path(node), "rb") as file:
            return os.pread(file.fileno(), size, offset)

    def _attributes(self, node: int) -> bytes:
        values: dict[str, int] = {"ino": node, "size": 0, "mtime_ns": 0, "ctime_ns": 0}
        mode = stat.S_IFDIR | 0o755
        if node != ROOT:
            path = self._path(node)
            mode = stat.S_IFREG | 0o755
            values["size"] = path.stat().st_size
            values |= self._lies().get(path.name, {})
        mtime_s, mtime_ns = divmod(values["mtime_ns"], SECOND)
        ctime_s, ctime_ns = divmod(values["ctime_ns"], SECOND)
        blocks = -(-values["size"] // 512)
        return ATTRIBUTES.pack(
            *(values["ino"], values["size"], blocks, mtime_s, mtime_s, ctime_s),
            *(mtime_ns, mtime_ns, ctime_ns, mode, 1, self._uid, self._uid, 0, 4096, 0),
        )

    def _lies(self) -> dict[str, Any]:
        path = self._control / "attributes.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}


def checked(result: int, what: str) -> None:
    """Fail where a call of libc did."""
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def mount(mountpoint: str, uid: int) -> int:
    """Mount in a namespace of our own; return the descriptor of the connection."""
    libc = ctypes.CDLL(None, use_errno=True)
    checked(libc.unshare(CLONE_NEWNS), "unshare")
    private = ctypes.c_ulong(MS_REC | MS_PRIVATE)
    checked(libc.mount(b"none", b"/", None, private, None), "make private")
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id={uid},group_id={uid},allow_other"
    flags = ctypes.c_ulong(0)
    where = os.fsencode(mountpoint)
    checked(libc.mount(b"lies", where, b"fuse", flags, options.encode()), "mount")
    return device


def main() -> None:
    """Mount, give up root, serve."""
    mountpoint, control = sys.argv[1:3]
    uid = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    device = mount(mountpoint, uid)
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    print("ready", flush=True)
    try:
        Server(device, Path(control), uid).serve()
    except OSError as error:
        if error.errno != errno.ENODEV:  # unmounted
            raise


if __name__ == "__main__":
    main()
