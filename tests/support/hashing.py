# SPDX-License-Identifier: MIT
"""What tests of hashes share: an opener of theirs, and answers waited for."""

from __future__ import annotations

import hashlib
import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sysmonlx.errors import ProcError
from sysmonlx.hashing.hasher import Hasher
from sysmonlx.host.file_identity import FileId, file_id

HasherFactory = Callable[..., Hasher[str]]

#: Longest wait for what is to come, in seconds: a busy machine lets threads wait.
PATIENT_S = 60.0


class FakeOpener:
    """Opens `files[tgid]`, and paths below `root` for mount namespace 77.

    Paths are only found while the gate is open.
    """

    def __init__(self, root: Path) -> None:
        self.files: dict[int, Path] = {}
        self.root = root
        self.opened = 0
        self.gate = threading.Event()
        self.gate.set()

    def exe(self, tgid: int) -> int:
        self.opened += 1
        if tgid not in self.files:
            raise ProcError(f"{tgid}/exe: gone")
        return os.open(self.files[tgid], os.O_PATH)

    def descriptor(self, tid: int, fd: int) -> int:
        raise ProcError("closed")

    def at_once(self, mount_namespace: int, path: bytes) -> int:
        raise ProcError("not in the cache")

    def by_path(self, mount_namespace: int, path: bytes, *, may_wait: bool) -> int:
        self.gate.wait(60)
        if mount_namespace != 77:
            raise ProcError("nobody")
        try:
            return os.open(bytes(self.root) + path, os.O_PATH | os.O_NOFOLLOW)
        except OSError as error:
            raise ProcError("gone") from error

    def close(self) -> None: ...


def identity(path: Path) -> FileId:
    fd = os.open(path, os.O_PATH)
    try:
        return file_id(fd)
    finally:
        os.close(fd)


def wait_for(hasher: Hasher[str], count: int) -> list[tuple[str, FileId, str]]:
    answers: list[tuple[str, FileId, str]] = []
    deadline = time.monotonic() + PATIENT_S
    while len(answers) < count and time.monotonic() < deadline:
        select.select([hasher], [], [], 0.02)
        answers += hasher.results()
    return answers


def sha256(data: bytes) -> str:
    return "SHA256=" + hashlib.sha256(data).hexdigest()
