# SPDX-License-Identifier: MIT
"""Work of every kind that is reported, at random; call it with SECONDS SEED FOLDER."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random


class Storm:
    """One program's storm; what it does follows from its seed alone."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.chance = Random(seed)
        # Of its own: process ids, of which the names are made, come again.
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        self.number = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.actions: list[Callable[[int], None]] = [
            self.run_programs,
            self.fork_and_act,
            self.make_files,
            self.rename_folders,
            self.connect,
            self.send_datagrams,
            self.look_into_parent,
            self.start_threads,
        ]

    def run(self, seconds: float) -> None:
        """Act until the time is over."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.chance.choice(self.actions)(self.chance.randint(1, 60))

    def name(self) -> Path:
        self.number += 1
        return self.folder / f"{os.getpid()}.{self.number}"

    def run_programs(self, count: int) -> None:
        for _ in range(count // 8 + 1):
            words = "x" * self.chance.choice((1, 100, 5000))
            subprocess.run(["/bin/true", words], check=True)

    def fork_and_act(self, count: int) -> None:
        for _ in range(count // 8 + 1):
            path = self.name()
            pid = os.fork()
            if not pid:
                path.touch()
                path.unlink()
                os._exit(0)
            os.waitpid(pid, 0)

    def make_files(self, count: int) -> None:
        for _ in range(count * 4):
            path, other = self.name(), self.name()
            path.touch()
            if self.chance.random() < 0.3:
                path.rename(other)
            elif self.chance.random() < 0.3:
                os.link(path, other)
                path.unlink()
            else:
                other = path
            other.unlink()

    def rename_folders(self, count: int) -> None:
        for _ in range(count):
            path, other = self.name(), self.name()
            path.mkdir()
            path.rename(other)
            other.rmdir()

    def connect(self, count: int) -> None:
        for _ in range(count // 2):
            with socket.create_connection(self.listener.getsockname()):
                self.listener.accept()[0].close()

    def send_datagrams(self, count: int) -> None:
        for _ in range(count):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"x", ("127.0.0.1", 9))

    def look_into_parent(self, count: int) -> None:
        for _ in range(count):
            os.close(os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY))

    def start_threads(self, count: int) -> None:
        threads = [threading.Thread(target=self.name().touch) for _ in range(count)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()


if __name__ == "__main__":
    Storm(int(sys.argv[2]), Path(sys.argv[3])).run(float(sys.argv[1]))
