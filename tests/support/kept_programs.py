# SPDX-License-Identifier: MIT
"""Programs as the running kernel takes them, found out once for all daemons of a run.

A daemon's first start has libbpf fit each program to the kernel, which takes some
seconds; later ones take what the first has kept. Few tests are about the first start.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from sysmonlx.capture.loader import Loader
from sysmonlx.enrich.registry import ALL_HOOKS
from sysmonlx.host.private_files import write_private
from sysmonlx.service.installed import Paths

_REPOSITORY = Path(__file__).resolve().parents[2]
_RING_BYTES, _WAKE_BYTES = 1 << 20, 1 << 16
_WRITTEN_S = 20.0


def put(paths: Paths) -> None:
    """Let the first daemon of an installation find what another start has kept.

    Nothing happens where the state directory is there: it is what a test made it.
    """
    if not paths.state_dir.exists() and (kept := _kept()):
        paths.create_private()
        write_private(paths.programs_file, kept)


@cache
def _kept() -> bytes:
    """Return the bytes of the file that a start with all programs keeps.

    They are empty where it keeps nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "programs"
        command = [sys.executable, "-P", "-m", "support.kept_programs", os.fspath(file)]
        environment = {**os.environ, "PYTHONPATH": f"{_REPOSITORY}:{_REPOSITORY}/tests"}
        subprocess.run(command, env=environment, check=True)
        return file.read_bytes() if file.exists() else b""


def _keep(file: Path) -> None:
    loader = Loader(_RING_BYTES, _WAKE_BYTES, keep_in=file)
    loaded = loader.load_first(ALL_HOOKS)
    loader.keep(loaded)
    loader.settle(_WRITTEN_S)
    loaded.close()


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
