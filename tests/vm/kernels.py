# SPDX-License-Identifier: MIT
"""Stock Debian kernels, downloaded once and unpacked below a directory."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

MIRROR = "http://deb.debian.org/debian"
SECURITY_MIRROR = "http://security.debian.org/debian-security"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

#: Which Debian release ships which long-term kernel; others are in BACKPORTS.
SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie"}
BACKPORTS = "trixie-backports"


class KernelError(Exception):
    """A kernel that cannot be had."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel: `home` holds vmlinuz and lib/modules/<release>."""

    home: Path

    @property
    def release(self) -> str:
        """What uname -r prints."""
        return self.home.name

    @property
    def image(self) -> Path:
        """The file to boot."""
        return self.home / "vmlinuz"

    @property
    def modules(self) -> Path:
        """Its modules, with modules.dep."""
        return self.home / "lib/modules" / self.release


def kernel(series: str, cache: Path) -> Kernel:
    """Return the newest kernel of a series such as "6.1", fetched if not in `cache`.

    Raises:
        KernelError: it cannot be had, and why.
    """
    known = list((cache / "kernels").glob(f"{series}.*"))
    if known:
        return Kernel(max(known, key=_numbers))
    if not re.fullmatch(r"\d+\.\d+", series):
        raise KernelError(f"no series of kernels: {series}; such as 6.1")
    apt = Apt(cache / "apt" / series, SUITES.get(series, BACKPORTS))
    version = rf"{re.escape(series)}\.\d+(?:-\d+|\+deb[\d.]+)"  # no cloud, no rt
    release = apt.newest(rf"linux-image-({version}-amd64)")
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        home = Path(scratch, release)
        _unpack(apt, release, Path(scratch), home)
        (cache / "kernels").mkdir(exist_ok=True)
        return Kernel(home.rename(cache / "kernels" / release))


def _unpack(apt: Apt, release: str, scratch: Path, home: Path) -> None:
    for name in apt.parts(f"linux-image-{release}", release):
        apt.download(name, scratch)
    tree = scratch / "tree"
    for package in scratch.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(tree)])
    (home / "lib/modules").mkdir(parents=True)
    shutil.move(tree / f"boot/vmlinuz-{release}", home / "vmlinuz")
    (modules,) = tree.glob(f"**/lib/modules/{release}")
    shutil.move(modules, home / "lib/modules" / release)
    _run(["/usr/sbin/depmod", "-b", str(home), release])


class Apt:
    """apt on the package lists of another Debian release; it installs nothing."""

    def __init__(self, root: Path, suite: str) -> None:
        root = root.resolve()
        for name in ("preferences.d", "lists/partial", "archives/partial"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "status").touch()
        source = f"deb [arch=amd64 signed-by={KEYRING}]"
        lines = [f"{source} {MIRROR} {suite} main\n"]
        if suite != BACKPORTS:
            lines.append(f"{source} {SECURITY_MIRROR} {suite}-security main\n")
        (root / "sources.list").write_text("".join(lines))
        settings = {
            "Dir::State::status": root / "status",
            "Dir::State::lists": root / "lists",
            "Dir::Cache": root,
            "Dir::Etc::sourcelist": root / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferencesparts": root / "preferences.d",
            "APT::Architecture": "amd64",
            "Acquire::Languages": "none",
        }
        self._options = [f"-o{name}={value}" for name, value in settings.items()]
        self._call("apt-get", "-q", "update")

    def newest(self, pattern: str) -> str:
        """Return the highest group 1 of the package names that match `pattern`."""
        names = self._call("apt-cache", "pkgnames", "linux-image-").split()
        found = [match[1] for name in names if (match := re.fullmatch(pattern, name))]
        if not found:
            raise KernelError(f"no package {pattern}")
        return max(found, key=_numbers)

    def parts(self, package: str, release: str) -> list[str]:
        """Return a package and those parts of the kernel `release` that it needs.

        Since 6.19 the package of a kernel holds none of its files.
        """
        shown = self._call("apt-cache", "show", "--no-all-versions", package)
        part = rf"linux-(?:binary|modules)-{re.escape(release)}(?![\w.+-])"
        return [package, *sorted({*re.findall(part, shown)})]

    def download(self, package: str, directory: Path) -> None:
        """Download a package into `directory`, checked by its signed digest."""
        self._call("apt-get", "-q", "download", package, cwd=directory)

    def _call(self, program: str, *words: str, cwd: Path | None = None) -> str:
        return _run([program, *self._options, *words], cwd)


def _numbers(name: str | Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", Path(name).name)]


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise KernelError(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
    return done.stdout
