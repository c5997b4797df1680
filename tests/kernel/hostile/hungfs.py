# SPDX-License-Identifier: MIT
"""A file system in user space that stops answering on request: fuse(4), no library.

It holds regular files in one directory, in memory. While its flag file exists, the
operations that the flag names are not answered; they are answered once it is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import signal
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

#: Numbers of operations, <linux/fuse.h>.
LOOKUP, FORGET, GETATTR, SETATTR, UNLINK, RENAME = 1, 2, 3, 4, 10, 12
OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT = 14, 15, 16, 17, 18, 20, 25, 26
OPENDIR, RELEASEDIR, CREATE, INTERRUPT, BATCH_FORGET = 27, 29, 35, 36, 42
_SILENT = (FORGET, INTERRUPT, BATCH_FORGET)
_NAMES = {"lookup": LOOKUP, "getattr": GETATTR, "read": READ, "write": WRITE}
_NAMES |= {"create": CREATE, "statfs": STATFS, "flush": FLUSH, "rename": RENAME}
_HEADER = struct.Struct("IIQQIIII")
_HIGH = 31  # protocol 7.31
_MNT_DETACH = 2
#: The server ends after so long, in seconds, even if a test waits for it by mistake.
_LIFETIME_S = 120


class Server:
    """Answers the kernel; node 1 is the directory, owned by root, mode 0755."""

    def __init__(self, device: int, flag: Path) -> None:
        self._device = device
        self._flag = flag
        self._files: dict[int, bytearray] = {}
        self._names: dict[bytes, int] = {}
        self._held: list[bytes] = []

    def serve(self) -> None:
        """Work until the file system is unmounted."""
        while True:
            ready = select.select([self._device], [], [], 0.02)[0]
            if not self._hung():
                held, self._held = self._held, []
                for request in held:
                    self._answer(request)
            if ready:
                try:
                    request = os.read(self._device, 1 << 21)
                except OSError as error:
                    if error.errno == errno.ENODEV:
                        return
                    continue
                if _HEADER.unpack_from(request)[1] in self._hung():
                    self._held.append(request)
                else:
                    self._answer(request)

    def _hung(self) -> set[int]:
        try:
            return {_NAMES[name] for name in self._flag.read_text().split()}
        except FileNotFoundError:
            return set()

    def _answer(self, request: bytes) -> None:
        _, operation, unique, node = _HEADER.unpack_from(request)[:4]
        if operation in _SILENT:
            return
        try:
            data = self._result(operation, node, request[_HEADER.size :])
            code = 0
        except OSError as error:
            code, data = error.errno or errno.EIO, b""
        reply = struct.pack("IiQ", 16 + len(data), -code, unique) + data
        with contextlib.suppress(OSError):  # who asked is gone
            os.write(self._device, reply)

    def _result(self, operation: int, node: int, body: bytes) -> bytes:
        simple = {
            INIT: struct.pack(
                "4I2H2I2H8I", 7, _HIGH, 65536, 0, 16, 12, 1 << 20, 1, 256, *[0] * 9
            ),
            GETATTR: struct.pack("Q2I", 0, 0, 0) + self._attributes(node),
            OPEN: struct.pack("Q2I", node, 0, 0),
            OPENDIR: struct.pack("Q2I", 1, 0, 0),
            STATFS: bytes(80),
            **dict.fromkeys((RELEASE, RELEASEDIR, FLUSH, FSYNC), b""),
        }
        if operation in simple:
            return simple[operation]
        changes = {
            LOOKUP: self._lookup,
            CREATE: self._create,
            WRITE: self._write,
            READ: self._read,
            SETATTR: self._set_attributes,
            RENAME: self._rename,
            UNLINK: self._unlink,
        }
        if operation not in changes:
            raise OSError(errno.ENOSYS, "")
        return changes[operation](node, body)

    def _attributes(self, node: int) -> bytes:
        size = len(self._files.get(node, b""))
        mode = stat.S_IFDIR | 0o755 if node == 1 else stat.S_IFREG | 0o600
        return struct.pack(
            "6Q10I", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0
        )

    def _entry(self, node: int) -> bytes:
        return struct.pack("4Q2I", node, 0, 0, 0, 0, 0) + self._attributes(node)

    def _lookup(self, node: int, body: bytes) -> bytes:
        name = body.partition(b"\0")[0]
        if name not in self._names:
            raise OSError(errno.ENOENT, "")
        return self._entry(self._names[name])

    def _create(self, node: int, body: bytes) -> bytes:
        name = body[16:].partition(b"\0")[0]
        made = 2 + len(self._files)
        self._files[made], self._names[name] = bytearray(), made
        return self._entry(made) + struct.pack("Q2I", made, 0, 0)

    def _write(self, node: int, body: bytes) -> bytes:
        _, at, size = struct.unpack_from("QQI", body)
        self._files[node][at : at + size] = body[40 : 40 + size]
        return struct.pack("2I", size, 0)

    def _read(self, node: int, body: bytes) -> bytes:
        _, at, size = struct.unpack_from("QQI", body)
        return bytes(self._files[node][at : at + size])

    def _set_attributes(self, node: int, body: bytes) -> bytes:
        valid, _, _, size = struct.unpack_from("IIQQ", body)
        if valid & 8 and node in self._files:  # FATTR_SIZE
            del self._files[node][size:]
        return struct.pack("Q2I", 0, 0, 0) + self._attributes(node)

    def _rename(self, node: int, body: bytes) -> bytes:
        old, new, _ = body[8:].split(b"\0", 2)
        self._names[new] = self._names.pop(old)
        return b""

    def _unlink(self, node: int, body: bytes) -> bytes:
        del self._names[body.partition(b"\0")[0]]
        return b""


class HungFs:
    """A mounted file system: `path` is its directory."""

    def __init__(self, path: Path, flag: Path) -> None:
        self.path = path
        self._flag = flag

    def hang(self, *operations: str) -> None:
        """Leave these operations without an answer: "write", "lookup" and others."""
        new = self._flag.with_suffix(".new")
        new.write_text(" ".join(operations))
        new.rename(self._flag)

    def answer(self) -> None:
        """Answer everything, also what was asked meanwhile."""
        self._flag.unlink(missing_ok=True)


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[HungFs]:
    """Mount one below `folder`, with a server process that ends with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    path, flag = folder / "hungfs", folder / "hungfs.flag"
    path.mkdir()
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    target = os.fsencode(path)
    if libc.mount(b"hungfs", target, b"fuse", 0, options) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    server = os.fork()
    if server == 0:
        _serve_and_exit(device, flag)
    os.close(device)  # the server's alone: its end ends whatever waits for it
    made = HungFs(path, flag)
    try:
        yield made
    finally:
        made.answer()
        libc.umount2(target, _MNT_DETACH)
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)


def _serve_and_exit(device: int, flag: Path) -> None:
    signal.alarm(_LIFETIME_S)
    try:
        Server(device, flag).serve()
    except BaseException as error:
        print(f"hungfs: {error!r}", file=sys.stderr)
    finally:
        os._exit(0)
