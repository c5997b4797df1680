# SPDX-License-Identifier: MIT
"""Packs the source with what its build makes of a kernel; `make tarball` runs this.

It builds and installs where there is no compiler, no BTF and no network: the objects
and the types that they were built with are in it. Two runs make the same bytes.
"""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from pathlib import Path

from tools.release import BUILD, OBJECTS, REPOSITORY, epoch, version

#: Made by the build, in the order in which make made them. The stamp tells make that
#: the packages for building are not needed.
BUILT = (
    "build/deps.stamp",
    "ebpf/vmlinux.h",
    *(f"build/{each}" for each in OBJECTS),
    *(f"sysmonlx/{each}" for each in OBJECTS),
)


def names() -> list[str]:
    """Return the files of the tarball, from the top of the checkout."""
    command = ("git", "ls-files", "-z")
    listed = subprocess.check_output(command, cwd=REPOSITORY, text=True)
    return [*sorted(filter(None, listed.split("\0"))), *BUILT]


def member(name: str, top: str, moment: int) -> tuple[tarfile.TarInfo, bytes]:
    """Return a file as it stands in the tarball: root's, for all to read."""
    path = REPOSITORY / name
    data = b"" if path.suffix == ".stamp" else path.read_bytes()
    found = tarfile.TarInfo(f"{top}/{name}")
    found.size, found.mtime = len(data), moment
    found.mode = 0o755 if os.access(path, os.X_OK) and path.suffix != ".o" else 0o644
    return found, data


def packed(top: str) -> bytes:
    """Return the tarball whose files all are below `top`."""
    moment = epoch()
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in names():
            found, data = member(name, top, moment)
            tar.addfile(found, io.BytesIO(data))
    return gzip.compress(written.getvalue(), 9, mtime=moment)


def main() -> None:
    """Write the tarball of this checkout below build."""
    top = f"sysmonlx-{version()}"
    path = Path(BUILD) / f"{top}.tar.gz"
    path.write_bytes(packed(top))
    print(f"  TAR      {path}")


if __name__ == "__main__":
    main()
