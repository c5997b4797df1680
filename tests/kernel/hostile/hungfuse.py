# SPDX-License-Identifier: MIT
"""A file system of user space that never answers root, and answers everybody else.

Run as a program: `python3 hungfuse.py MOUNTPOINT` mounts it, becomes an ordinary user
and serves until it is ended. It keeps files in memory, and lets the kernel remember
nothing: each step of each path is asked for. Structures: <linux/fuse.h>, version 7.31.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EEXIST, ENOENT, ENOSYS, ENOTEMPTY
from pathlib import Path

NOBODY = 65534
_HEADER = struct.Struct("=IIQQIII4x")
_REPLY = struct.Struct("=IiQ")
_ROOT = 1
_MNT_DETACH = 2
#: FORGET, INTERRUPT, DESTROY, BATCH_FORGET: nothing is answered.
_SILENT = (2, 36, 38, 42)


class Node:
    """A file or directory."""

    def __init__(self, number: int, mode: int) -> None:
        self.number = number
        self.mode = mode
        self.links = 1
        self.names: dict[bytes, Node] = {}


class Server:
    """Answers requests, one after another."""

    def __init__(self, device: int) -> None:
        self._device = device
        self._nodes = {_ROOT: Node(_ROOT, stat.S_IFDIR | 0o777)}
        self._operations = {
            26: self._init,
            1: self._look_up,
            3: self._attributes,
            4: self._attributes,
            8: self._make,
            9: self._make_directory,
            10: self._remove,
            11: self._remove,
            12: self._rename,
            45: self._rename2,
            13: self._link,
            14: self._open,
            27: self._open,
            35: self._create,
            15: self._nothing,
            28: self._nothing,
            18: self._nothing,
            25: self._nothing,
            29: self._nothing,
        }

    def serve(self) -> None:
        """Answer until the file system is gone."""
        while True:
            try:
                data = os.read(self._device, 1 << 18)
            except OSError:
                return
            _, operation, unique, node, uid, _, _ = _HEADER.unpack_from(data)
            if operation in _SILENT or (uid == 0 and operation != 26):
                continue
            error, answer = 0, b""
            try:
                handle = self._operations[operation]
                target = self._nodes.get(node, self._nodes[_ROOT])
                answer = handle(target, data[_HEADER.size :])
            except KeyError:
                error = -ENOSYS
            except OSError as caught:
                error = -(caught.errno or ENOSYS)
            head = _REPLY.pack(_REPLY.size + len(answer), error, unique)
            os.write(self._device, head + answer)

    def _new(self, parent: Node, name: bytes, mode: int) -> Node:
        if name in parent.names:
            raise FileExistsError(EEXIST, "exists")
        node = Node(max(self._nodes) + 1, mode)
        self._nodes[node.number] = parent.names[name] = node
        return node

    def _attr(self, node: Node) -> bytes:
        times = [int(time.time())] * 3
        return struct.pack(
            "=6Q10I",
            *(node.number, 0, 0, *times, 0, 0, 0, node.mode, node.links),
            *(NOBODY, NOBODY, 0, 4096, 0),
        )

    def _entry(self, node: Node) -> bytes:
        return struct.pack("=4Q2I", node.number, 0, 0, 0, 0, 0) + self._attr(node)

    def _init(self, node: Node, data: bytes) -> bytes:
        return struct.pack(
            "=4I2H2I2H8I", 7, 31, 4096, 0, 16, 12, 65536, 1, 16, *[0] * 9
        )

    def _look_up(self, node: Node, data: bytes) -> bytes:
        return self._entry(_child(node, _name(data)))

    def _attributes(self, node: Node, data: bytes) -> bytes:
        return struct.pack("=Q2I", 0, 0, 0) + self._attr(node)

    def _make(self, node: Node, data: bytes) -> bytes:
        (mode,) = struct.unpack_from("=I", data)
        return self._entry(self._new(node, _name(data[16:]), mode))

    def _make_directory(self, node: Node, data: bytes) -> bytes:
        (mode,) = struct.unpack_from("=I", data)
        return self._entry(self._new(node, _name(data[8:]), stat.S_IFDIR | mode))

    def _create(self, node: Node, data: bytes) -> bytes:
        _, mode = struct.unpack_from("=2I", data)
        made = self._new(node, _name(data[16:]), mode)
        return self._entry(made) + self._open(made, b"")

    def _remove(self, node: Node, data: bytes) -> bytes:
        found = _child(node, _name(data))
        if found.names:
            raise OSError(ENOTEMPTY, "not empty")
        del node.names[_name(data)]
        found.links -= 1
        return b""

    def _rename(self, node: Node, data: bytes) -> bytes:
        (target,) = struct.unpack_from("=Q", data)
        return self._move(node, self._nodes[target], data[8:])

    def _rename2(self, node: Node, data: bytes) -> bytes:
        (target,) = struct.unpack_from("=Q", data)
        return self._move(node, self._nodes[target], data[16:])

    def _move(self, node: Node, target: Node, names: bytes) -> bytes:
        old, new = names.split(b"\0")[:2]
        target.names[new] = _child(node, old)
        del node.names[old]
        return b""

    def _link(self, node: Node, data: bytes) -> bytes:
        (number,) = struct.unpack_from("=Q", data)
        found = self._nodes[number]
        node.names[_name(data[8:])] = found
        found.links += 1
        return self._entry(found)

    def _open(self, node: Node, data: bytes) -> bytes:
        return struct.pack("=Q2I", 1, 0, 0)

    def _nothing(self, node: Node, data: bytes) -> bytes:
        return b""


def _name(data: bytes) -> bytes:
    return data.partition(b"\0")[0]


def _child(node: Node, name: bytes) -> Node:
    if name not in node.names:
        raise FileNotFoundError(ENOENT, "no such name")
    return node.names[name]


def mount(place: str) -> int:
    """Mount a file system that all may use; return the descriptor to serve it by."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id={NOBODY},group_id={NOBODY}"
    libc = ctypes.CDLL(None, use_errno=True)
    data = f"{options},allow_other,default_permissions".encode()
    if libc.mount(b"hungfuse", place.encode(), b"fuse", 6, data) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    return device


@contextmanager
def hung_mount(place: Path) -> Iterator[Path]:
    """Yield a directory on such a file system; it is gone afterwards."""
    place.mkdir()
    process = subprocess.Popen(
        [sys.executable, os.fspath(Path(__file__).resolve()), os.fspath(place)],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"mounted\n"
        yield place
    finally:
        process.kill()  # whoever waits for an answer gets an error
        process.communicate()
        ctypes.CDLL(None).umount2(os.fsencode(place), _MNT_DETACH)


def _main(place: str) -> None:
    device = mount(place)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    print("mounted", flush=True)
    Server(device).serve()


if __name__ == "__main__":
    _main(sys.argv[1])
