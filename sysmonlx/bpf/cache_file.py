# SPDX-License-Identifier: MIT
"""The file that keeps `program_cache.Plans` between starts, and when it holds."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from sysmonlx.bpf.program_cache import Plans, read_plans
from sysmonlx.host import capabilities
from sysmonlx.host.file_calls import Call, Worker
from sysmonlx.host.private_files import read_file, write_private

#: ELF notes of the kernel: the build id, which names one build and no other.
_BUILD = Path("/sys/kernel/notes")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LOCKDOWN = Path("/sys/kernel/security/lockdown")
#: A file for each module that has types.
_MODULES = "/sys/kernel/btf"


class Kept:
    """Plans that an earlier start has kept in the file `path`; None: there are none.

    With `may_write` off the file is read and never written, as a program wants it that
    leaves no trace.
    """

    def __init__(
        self,
        path: Path | None,
        objects: Iterable[Path],
        btf: str,
        *,
        may_write: bool = True,
    ) -> None:
        self._path = path
        self._may_write = may_write
        self._files = [*map(os.fspath, objects), *([btf] if btf else [])]
        self._key: dict[str, object] = {}
        self._boot = ""
        self._data = b""
        self._writing: Call[None] | None = None
        self.plans = Plans()

    def read(self) -> None:
        """Read the stored plans into `plans`, if they were made on this kernel."""
        if self._path is None:
            return
        self._key = _key(self._files)
        self._boot = _boot()
        with suppress(OSError):
            self._data = read_file(self._path)
        found = read_plans(self._data, self._key, self._boot)
        self.plans = found or self.plans

    @property
    def is_busy(self) -> bool:
        """Whether a thread is writing: nothing else can be written now."""
        return self._writing is not None and not self._writing.wait(0)

    def settle(self, timeout_s: float) -> None:
        """Wait for what is being written, this long at most."""
        if self._writing is not None:
            self._writing.wait(timeout_s)

    def write(self) -> None:
        """Have a thread keep the plans, where they have changed.

        Nobody waits for the file system. A directory that takes no file is no reason to
        stop: the next start is slower.
        """
        if not self._may_write or self._path is None or not self._key.get("build"):
            return
        data = self.plans.to_bytes(self._key, self._boot)
        if data != self._data:
            with suppress(OSError):  # no thread can be had
                worker = Worker()
                self._writing = worker.begin(partial(write_private, self._path, data))
                worker.end()
        self._data = b""


def _key(files: Iterable[str]) -> dict[str, object]:
    """Return what programs depend on: the kernel's build, and files.

    There is no "build" where the kernel does not name it.
    """
    found = [os.stat(each) for each in files if os.path.exists(each)]
    times = [
        [s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns] for s in found
    ]
    return {"build": _text(_BUILD), "kernel": [*os.uname()][2:], "files": times}


def _boot() -> str:
    """Return what a refusal depends on besides: boot, modules, what we may do."""
    may = sorted(capabilities.effective())
    modules: list[str] = []
    with suppress(OSError):
        modules = sorted(os.listdir(_MODULES))
    return f"{_text(_BOOT)} {_text(_LOCKDOWN)} {may} {modules}"


def _text(path: Path) -> str:
    try:
        return path.read_bytes().hex()
    except OSError:
        return ""
