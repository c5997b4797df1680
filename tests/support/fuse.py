# SPDX-License-Identifier: MIT
"""File systems that hang, fail or lie: mounts of `fuse_server.py`."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534
_SERVER = Path(__file__).with_name("fuse_server.py")
_MNT_DETACH = 2


class Fuse:
    """A mounted file system: `path` is its directory, `pid` its server."""

    def __init__(self, path: Path, control: Path, pid: int) -> None:
        self.path = path
        self.pid = pid
        self._control = control
        self._lies: dict[str, dict[str, int]] = {}

    def hang(self, *operations: str) -> None:
        """Leave operations without an answer, by name ("write")."""
        os.truncate(self._control / "held", 0)
        new = self._control / "hang.new"
        new.write_text(" ".join(operations))
        new.rename(self._control / "hang")

    def holds(self, operation: str) -> bool:
        """Tell whether somebody has hung in an operation since `hang`.

        A request that the server has not read yet is given up when its process is
        killed; that of another operation may be under way.
        """
        return operation in (self._control / "held").read_text().split()

    def answer(self) -> None:
        """Answer everything, also what was asked meanwhile."""
        (self._control / "hang").unlink(missing_ok=True)

    def add(self, name: str, data: bytes) -> Path:
        """Give a file this content, whoever has it open; return its path."""
        (self._control / "files" / name).write_bytes(data)
        return self.path / name

    def lie(self, name: str, **attributes: int) -> None:
        """Say these attributes of an added file: ino, size, mtime_ns, ctime_ns."""
        self._lies[name] = attributes
        (self._control / "attributes.json").write_text(json.dumps(self._lies))

    def inside(self, *words: str | Path) -> list[str | Path]:
        """Return the command that runs a command where a private mount is seen."""
        return ["nsenter", "-m", "-t", str(self.pid), *words]


@contextmanager
def mounted(
    path: Path,
    *,
    uid: int = 0,
    private: bool = False,
    mute_root: bool = False,
    failing_reads: int = 0,
) -> Iterator[Fuse]:
    """Mount on a directory, which is made; nothing is mounted there afterwards.

    Args:
        path: The directory.
        uid: The user whose server and files these are.
        private: Show the mount to nobody but commands of `Fuse.inside`.
        mute_root: Never answer root, and everybody else at once.
        failing_reads: How many reads fail before the first that does not.
    """
    path.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        control = Path(name)
        (control / "files").mkdir()
        control.chmod(0o755)
        (control / "held").touch()
        (control / "held").chmod(0o666)  # the server may be nobody
        words: list[str | Path] = [sys.executable, "-P", _SERVER, path, control]
        words += ["--uid", str(uid)]
        words += ["--failing-reads", str(failing_reads)]
        words += ["--private"] * private + ["--mute-root"] * mute_root
        server = subprocess.Popen(words, stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield Fuse(path, control, server.pid)
        finally:
            server.kill()  # whoever waits for an answer gets an error
            server.communicate()
            if not private:
                ctypes.CDLL(None).umount2(os.fsencode(path), _MNT_DETACH)


@contextmanager
def hung_mount(path: Path) -> Iterator[Path]:
    """Mount what never answers root, and is an ordinary user's; yield the directory."""
    with mounted(path, uid=NOBODY, mute_root=True):
        yield path
