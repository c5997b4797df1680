# SPDX-License-Identifier: MIT
"""A FUSE file system that hangs, fails and lies as it is told; run as a program.

    fuse_server.py MOUNTPOINT CONTROL [--uid UID] [--private] [--mute-root]
                   [--failing-reads COUNT]

It mounts, gives up root for UID, prints "ready" and serves until it is killed. Files
and directories are kept in memory. Nothing is cached by the kernel: each step of each
path is asked for. Structures: <linux/fuse.h>, version 7.31.

--private         mount in a mount namespace of its own; `nsenter -m -t PID` gets in
--mute-root       never answer a request of root
--failing-reads   the first COUNT requests READ fail

CONTROL/files/NAME       content of MOUNTPOINT/NAME, read anew for each request
CONTROL/attributes.json  {"NAME": {"ino": 1, "size": 2, "mtime_ns": 3, "ctime_ns": 4}}:
                         what is said of such a file instead of the truth
CONTROL/hang             names of operations that are not answered while it is there
CONTROL/held             is written: the name of each operation that is held back

What was held back is answered once the file `hang` is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import stat
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

#: Operations by the names that CONTROL/hang uses.
OPERATIONS = {
    "lookup": 1,
    "getattr": 3,
    "setattr": 4,
    "mknod": 8,
    "mkdir": 9,
    "unlink": 10,
    "rmdir": 11,
    "rename": 12,
    "link": 13,
    "open": 14,
    "read": 15,
    "write": 16,
    "statfs": 17,
    "release": 18,
    "fsync": 20,
    "flush": 25,
    "init": 26,
    "opendir": 27,
    "readdir": 28,
    "releasedir": 29,
    "create": 35,
    "rename2": 45,
}
NAMES = {number: name for name, number in OPERATIONS.items()}
#: FORGET, INTERRUPT, DESTROY, BATCH_FORGET: the kernel expects no answer.
SILENT = (2, 36, 38, 42)
IN_HEADER, OUT_HEADER = struct.Struct("=IIQQIIII"), struct.Struct("=IiQ")
ATTRIBUTES, ENTRY = struct.Struct("=6Q10I"), struct.Struct("=4Q2I")
ATTRIBUTES_OUT, OPEN_OUT = struct.Struct("=Q2I"), struct.Struct("=Q2I")
INIT_OUT = struct.Struct("=4I2H2I2H8I")
ROOT = 1
SECOND = 1_000_000_000
REQUEST_BYTES = 1 << 21
FATTR_MODE, FATTR_SIZE = 1, 8
CLONE_NEWNS, MS_NOSUID_NODEV, MS_REC_PRIVATE = 0x20000, 6, 0x44000
#: The server ends after this time, in seconds, even if a test waits for it by mistake.
LIFETIME_S = 120


class Request(NamedTuple):
    """One question of the kernel."""

    operation: int
    unique: int
    node: int
    uid: int
    body: bytes


@dataclass(slots=True)
class Node:
    """A file or directory; `source` is the file that its content is read from."""

    number: int
    mode: int
    source: Path | None = None
    links: int = 1
    time_ns: int = field(default_factory=time.time_ns)
    content: bytearray = field(default_factory=bytearray)
    names: dict[bytes, Node] = field(default_factory=dict)


class Server:
    """Answers what the kernel asks of one mount."""

    def __init__(self, device: int, options: argparse.Namespace) -> None:
        self._device = device
        self._control = Path(options.control)
        self._uid = options.uid
        self._is_mute_to_root = options.mute_root
        self._failing_reads = options.failing_reads
        self._root = Node(ROOT, stat.S_IFDIR | (0o777 if self._uid else 0o755))
        self._nodes = {ROOT: self._root}
        self._held: list[Request] = []
        #: Operations with an answer of their own; the others here have an empty one.
        self._handlers: dict[str, Callable[[Node, bytes], bytes]] = {
            "init": self._init,
            "lookup": self._lookup,
            "getattr": self._getattr,
            "setattr": self._setattr,
            "mknod": self._mknod,
            "mkdir": self._mkdir,
            "create": self._create,
            "unlink": self._remove,
            "rmdir": self._remove,
            "rename": self._rename,
            "rename2": self._rename2,
            "link": self._link,
            "open": self._open,
            "opendir": self._open,
            "read": self._read,
            "write": self._write,
            "statfs": lambda node, body: bytes(80),
        }

    def serve(self) -> None:
        """Answer until the mount is gone."""
        while True:
            wait_s = 0.02 if self._held else None
            ready, _, _ = select.select([self._device], [], [], wait_s)
            held, self._held = self._held, []
            for each in held:
                self._take(each)
            if ready:
                try:
                    data = os.read(self._device, REQUEST_BYTES)
                except OSError as error:
                    if error.errno == errno.ENODEV:  # unmounted
                        return
                    continue  # whoever asked was killed
                _, operation, unique, node, uid, *_ = IN_HEADER.unpack_from(data)
                body = data[IN_HEADER.size :]
                self._take(request := Request(operation, unique, node, uid, body))
                if request in self._held:
                    self._tell_held(request)

    def _take(self, request: Request) -> None:
        if request.operation in SILENT:
            return
        name = NAMES.get(request.operation, "")
        if self._is_mute_to_root and request.uid == 0 and name != "init":
            return
        if name == "read" and self._failing_reads:
            self._failing_reads -= 1
            self._reply(request, errno.EIO, b"")
        elif self._hangs(name):
            self._held.append(request)
        else:
            self._answer(request, name)

    def _tell_held(self, request: Request) -> None:
        """Say that who asked hangs from now on, whatever signal comes."""
        with open(self._control / "held", "a") as file:
            file.write(f"{NAMES[request.operation]}\n")

    def _hangs(self, name: str) -> bool:
        try:
            return name in (self._control / "hang").read_text().split()
        except FileNotFoundError:
            return False

    def _answer(self, request: Request, name: str) -> None:
        error, data = 0, b""
        try:
            if not name:
                raise OSError(errno.ENOSYS, "not served")
            if name in self._handlers:
                node = self._nodes.get(request.node, self._root)
                data = self._handlers[name](node, request.body)
        except OSError as failure:
            error = failure.errno or errno.EIO
        self._reply(request, error, data)

    def _reply(self, request: Request, error: int, data: bytes) -> None:
        head = OUT_HEADER.pack(OUT_HEADER.size + len(data), -error, request.unique)
        with contextlib.suppress(OSError):  # whoever asked was killed
            os.write(self._device, head + data)

    # --- operations

    def _init(self, node: Node, body: bytes) -> bytes:
        # Where reads fail, each is of one page: none is read ahead.
        ahead_bytes = 0 if self._failing_reads else 65536
        return INIT_OUT.pack(7, 31, ahead_bytes, 0, 16, 12, 1 << 20, 1, 256, *[0] * 9)

    def _lookup(self, node: Node, body: bytes) -> bytes:
        name = _name(body)
        files = self._control / "files"
        is_new = node is self._root and name not in node.names
        if is_new and name in os.listdir(os.fsencode(files)):  # of any length
            made = self._new(node, name, stat.S_IFREG | 0o755)
            made.source, made.time_ns = files / os.fsdecode(name), 0
        return self._entry(_child(node, name))

    def _getattr(self, node: Node, body: bytes) -> bytes:
        return ATTRIBUTES_OUT.pack(0, 0, 0) + self._attributes(node)

    def _setattr(self, node: Node, body: bytes) -> bytes:
        valid, _, _, size = struct.unpack_from("=IIQQ", body)
        (mode,) = struct.unpack_from("=I", body, 68)
        if valid & FATTR_SIZE:
            del node.content[size:]
            node.content.extend(bytes(size - len(node.content)))
        if valid & FATTR_MODE:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        return self._getattr(node, b"")

    def _mknod(self, node: Node, body: bytes) -> bytes:
        (mode,) = struct.unpack_from("=I", body)
        return self._entry(self._new(node, _name(body[16:]), mode))

    def _mkdir(self, node: Node, body: bytes) -> bytes:
        (mode,) = struct.unpack_from("=I", body)
        return self._entry(self._new(node, _name(body[8:]), stat.S_IFDIR | mode))

    def _create(self, node: Node, body: bytes) -> bytes:
        _, mode = struct.unpack_from("=2I", body)
        made = self._new(node, _name(body[16:]), mode)
        return self._entry(made) + self._open(made, b"")

    def _remove(self, node: Node, body: bytes) -> bytes:
        found = _child(node, _name(body))
        if found.names:
            raise OSError(errno.ENOTEMPTY, "not empty")
        del node.names[_name(body)]
        found.links -= 1
        return b""

    def _rename(self, node: Node, body: bytes) -> bytes:
        (target,) = struct.unpack_from("=Q", body)
        return self._move(node, self._nodes[target], body[8:])

    def _rename2(self, node: Node, body: bytes) -> bytes:
        (target,) = struct.unpack_from("=Q", body)
        return self._move(node, self._nodes[target], body[16:])

    def _move(self, node: Node, target: Node, names: bytes) -> bytes:
        old, new = names.split(b"\0")[:2]
        found = _child(node, old)
        del node.names[old]
        target.names[new] = found
        return b""

    def _link(self, node: Node, body: bytes) -> bytes:
        (number,) = struct.unpack_from("=Q", body)
        found = node.names[_name(body[8:])] = self._nodes[number]
        found.links += 1
        return self._entry(found)

    def _open(self, node: Node, body: bytes) -> bytes:
        return OPEN_OUT.pack(1, 0, 0)

    def _read(self, node: Node, body: bytes) -> bytes:
        _, at, size = struct.unpack_from("=QQI", body)
        if node.source is None:
            return bytes(node.content[at : at + size])
        with open(node.source, "rb") as file:
            return os.pread(file.fileno(), size, at)

    def _write(self, node: Node, body: bytes) -> bytes:
        _, at, size = struct.unpack_from("=QQI", body)
        node.content.extend(bytes(max(0, at - len(node.content))))
        node.content[at : at + size] = body[40 : 40 + size]
        return struct.pack("=2I", size, 0)

    # --- nodes

    def _new(self, parent: Node, name: bytes, mode: int) -> Node:
        if name in parent.names:
            raise FileExistsError(errno.EEXIST, "exists")
        node = Node(ROOT + len(self._nodes), mode)
        self._nodes[node.number] = parent.names[name] = node
        return node

    def _entry(self, node: Node) -> bytes:
        return ENTRY.pack(node.number, 0, 0, 0, 0, 0) + self._attributes(node)

    def _attributes(self, node: Node) -> bytes:
        size = node.source.stat().st_size if node.source else len(node.content)
        values = {"ino": node.number, "size": size}
        values |= {"mtime_ns": node.time_ns, "ctime_ns": node.time_ns}
        values |= self._lies(node)
        mtime_s, mtime_ns = divmod(values["mtime_ns"], SECOND)
        ctime_s, ctime_ns = divmod(values["ctime_ns"], SECOND)
        blocks = -(-values["size"] // 512)
        return ATTRIBUTES.pack(
            *(values["ino"], values["size"], blocks, mtime_s, mtime_s, ctime_s),
            *(mtime_ns, mtime_ns, ctime_ns, node.mode, node.links),
            *(self._uid, self._uid, 0, 4096, 0),
        )

    def _lies(self, node: Node) -> dict[str, int]:
        path = self._control / "attributes.json"
        if node.source is None or not path.exists():
            return {}
        return dict(json.loads(path.read_text()).get(node.source.name, {}))


def _name(data: bytes) -> bytes:
    return data.partition(b"\0")[0]


def _child(node: Node, name: bytes) -> Node:
    if name not in node.names:
        raise FileNotFoundError(errno.ENOENT, "no such name")
    return node.names[name]


def _checked(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def _mount(options: argparse.Namespace) -> int:
    """Mount a file system that all may use; return the descriptor to serve it by."""
    libc = ctypes.CDLL(None, use_errno=True)
    if options.private:
        _checked(libc.unshare(CLONE_NEWNS), "unshare")
        flags = ctypes.c_ulong(MS_REC_PRIVATE)
        _checked(libc.mount(b"none", b"/", None, flags, None), "make private")
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    uid = options.uid
    data = f"fd={device},rootmode=40000,user_id={uid},group_id={uid},allow_other"
    data += ",default_permissions" if options.mute_root else ""
    flags = ctypes.c_ulong(MS_NOSUID_NODEV if options.mute_root else 0)
    where = os.fsencode(options.mountpoint)
    _checked(libc.mount(b"fuse", where, b"fuse", flags, data.encode()), "mount")
    return device


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("mountpoint")
    parser.add_argument("control")
    parser.add_argument("--uid", type=int, default=0)
    parser.add_argument("--private", action="store_true")
    parser.add_argument("--mute-root", action="store_true")
    parser.add_argument("--failing-reads", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Mount, give up root, serve."""
    options = _options()
    signal.alarm(LIFETIME_S)
    device = _mount(options)
    if options.uid:
        os.setgroups([])
        os.setresgid(options.uid, options.uid, options.uid)
        os.setresuid(options.uid, options.uid, options.uid)
    print("ready", flush=True)
    Server(device, options).serve()


if __name__ == "__main__":
    main()
