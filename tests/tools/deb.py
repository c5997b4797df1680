# SPDX-License-Identifier: MIT
"""Builds the Debian package; `make deb` runs this.

The program needs no compiler of Debian's own kind: it is Python and two eBPF objects.
Thus dpkg-deb packs a tree that is laid out here, and debhelper is not needed. Two
builds of the same commit are the same bytes: times are the commit's, owners are root,
names are sorted.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools.release import BUILD, OBJECTS, REPOSITORY, epoch, version

PARTS = Path(__file__).with_name("debian")
PACKAGE = Path("usr/lib/python3/dist-packages/sysmonlx")
SHARE, DOC = Path("usr/share/sysmonlx"), Path("usr/share/doc/sysmonlx")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MAINTAINER = "The sysmonlx authors <sysmonlx@packages.invalid>"
SCRIPTS = ("postinst", "prerm", "postrm")

#: What is started: -I keeps the environment and the current directory out.
PROGRAM = """\
#!/usr/bin/python3 -I
# SPDX-License-Identifier: MIT
import sys

from sysmonlx.{module} import main

sys.exit(main())
"""

#: Files of the package from the files of the source.
FILES = {
    "etc/logrotate.d/sysmonlx": "sysmonlx/data/logrotate-sysmonlx.conf",
    "etc/rsyslog.d/20-sysmonlx.conf": "sysmonlx/data/rsyslog-file-sysmonlx.conf",
    f"{SHARE}/rsyslog-sysmonlx.conf": "sysmonlx/data/rsyslog-sysmonlx.conf",
    f"{SHARE}/syslog-ng-sysmonlx.conf": "sysmonlx/data/syslog-ng-sysmonlx.conf",
    "usr/share/bash-completion/completions/sysmonlx": "sysmonlx/data/completion.bash",
    "usr/share/zsh/vendor-completions/_sysmonlx": "sysmonlx/data/completion.zsh",
    "usr/share/bash-completion/completions/sysmonlx-sigma": (
        "sysmonlx/data/completion-sigma.bash"
    ),
    "usr/share/zsh/vendor-completions/_sysmonlx-sigma": (
        "sysmonlx/data/completion-sigma.zsh"
    ),
    "usr/share/bash-completion/completions/sysmonlx-logview": (
        "sysmonlx/data/completion-logview.bash"
    ),
    "usr/share/zsh/vendor-completions/_sysmonlx-logview": (
        "sysmonlx/data/completion-logview.zsh"
    ),
    "usr/share/lintian/overrides/sysmonlx": "tests/tools/debian/lintian-overrides",
}
COMPRESSED = {
    "usr/share/man/man8/sysmonlx.8.gz": "man/sysmonlx.8",
    "usr/share/man/man5/sysmonlx.5.gz": "man/sysmonlx.5",
    "usr/share/man/man7/sysmonlx-events.7.gz": "man/sysmonlx-events.7",
    "usr/share/man/man1/sysmonlx-logview.1.gz": "man/sysmonlx-logview.1",
    "usr/share/man/man1/sysmonlx-sigma.1.gz": "man/sysmonlx-sigma.1",
    f"{DOC}/CHANGES.md.gz": "CHANGELOG.md",
}
#: What the script that gives Microsoft's names leads them to.
NAMES_OF_PROGRAMS = {
    "@PROGRAM@": "/usr/sbin/sysmonlx",
    "@LOGVIEW@": "/usr/bin/sysmonlx-logview",
}
#: Read by people and by editors, beside the program that has them too.
EXAMPLES = (
    "default.xml",
    "everything.xml",
    "more.xml",
    "sysmonlx.xsd",
    "sysmonlx-settings.xsd",
    "shipped.sigma.json",
    "rules",
    "examples",
)


def write(path: Path, data: str | bytes, mode: int = 0o644) -> None:
    """Write a file, with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(mode)


def lay_out(tree: Path, number: str) -> None:
    """Have everything that is installed below `tree`."""
    ignored = shutil.ignore_patterns("__pycache__", "*.bpf.o", "py.typed")
    shutil.copytree(REPOSITORY / "sysmonlx", tree / PACKAGE, ignore=ignored)
    schema = PACKAGE / "config_schema"
    shutil.copytree(REPOSITORY / "config_schema", tree / schema)
    for name in OBJECTS:
        shutil.copyfile(REPOSITORY / "sysmonlx" / name, tree / PACKAGE / name)
    write(tree / "usr/sbin/sysmonlx", PROGRAM.format(module="__main__"), 0o755)
    viewer = PROGRAM.format(module="viewer.main")
    write(tree / "usr/bin/sysmonlx-logview", viewer, 0o755)
    sigma = PROGRAM.format(module="sigma_tool.main")
    write(tree / "usr/bin/sysmonlx-sigma", sigma, 0o755)
    (tree / "usr/bin/sysmonlx").symlink_to("../sbin/sysmonlx")
    for target, source in FILES.items():
        write(tree / target, (REPOSITORY / source).read_bytes())
    for target, source in COMPRESSED.items():
        write(tree / target, compressed((REPOSITORY / source).read_bytes()))
    script = (REPOSITORY / "sysmonlx/data/as-sysmon.sh").read_text("utf-8")
    for mark, program in NAMES_OF_PROGRAMS.items():
        script = script.replace(mark, program)
    write(tree / SHARE / "as-sysmon", script, 0o755)
    for name in EXAMPLES:
        (tree / SHARE / name).symlink_to(os.path.relpath(schema / name, SHARE))
    write(tree / DOC / "changelog.gz", compressed(changelog(number).encode()))
    write(tree / DOC / "copyright", copyright_text())


def compressed(data: bytes) -> bytes:
    """Return data as gzip(1) makes it with -9n."""
    return gzip.compress(data, 9, mtime=0)


def changelog(number: str) -> str:
    """Return what Debian's tools read: the version and its date."""
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(epoch()))
    return (
        f"sysmonlx ({number}) unstable; urgency=medium\n\n"
        "  * See CHANGES.md.gz for what is new.\n\n"
        f" -- {MAINTAINER}  {date}\n"
    )


def copyright_text() -> str:
    """Return the licences in Debian's form."""
    text = (REPOSITORY / "LICENSES" / "MIT.txt").read_text("utf-8")
    words = text.split("\n\n", 2)[2].strip()  # without title and holder
    lines = (f" {line}" if line.strip() else " ." for line in words.split("\n"))
    template = (PARTS / "copyright").read_text("utf-8")
    return template.replace("@MIT@", "\n".join(lines))


def describe(tree: Path, number: str) -> None:
    """Write what dpkg itself reads, for the tree as it is."""
    files = sorted(each for each in tree.rglob("*") if each.is_file())
    own = [each for each in files if not each.is_symlink()]
    sums = "".join(f"{md5(each)}  {each.relative_to(tree)}\n" for each in own)
    size = sum(-(-each.stat().st_size // 1024) for each in own)
    values = {
        "VERSION": number,
        "ARCHITECTURE": ARCHITECTURES[platform.machine()],
        "MAINTAINER": MAINTAINER,
        "SIZE": str(size),
        "FUNCTIONS": (PARTS / "functions.sh").read_text("utf-8"),
    }
    write(tree / "DEBIAN/control", filled("control", values))
    write(tree / "DEBIAN/md5sums", sums)
    conffiles = [f"/{each}\n" for each in FILES if each.startswith("etc/")]
    write(tree / "DEBIAN/conffiles", "".join(conffiles))
    for name in SCRIPTS:
        write(tree / "DEBIAN" / name, filled(name, values), 0o755)


def md5(path: Path) -> str:
    """Return the sum that dpkg compares files with."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def filled(name: str, values: dict[str, str]) -> str:
    """Return a part of the package with its values."""
    text = (PARTS / name).read_text("utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def pack(tree: Path, package: Path) -> None:
    """Make the package of a tree, with the same bytes each time."""
    moment = epoch()
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            is_program = path.is_dir() or os.access(path, os.X_OK)
            path.chmod(0o755 if is_program and not path.suffix else path.stat().st_mode)
        os.utime(path, (moment, moment), follow_symlinks=False)
    environment = {
        **os.environ,
        "SOURCE_DATE_EPOCH": str(moment),
        "DPKG_DEB_THREADS_MAX": "1",  # else the number of cores decides on the bytes
    }
    command = ("dpkg-deb", "--root-owner-group", "-Zxz", "--build", tree, package)
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Build the package of this checkout into a directory."""
    parser = argparse.ArgumentParser(description="Build the Debian package.")
    parser.add_argument("--into", type=Path, default=BUILD)
    parser.add_argument("--version", default=version())
    arguments = parser.parse_args()
    if platform.machine() not in ARCHITECTURES:
        sys.exit(f"deb: no Debian name for {platform.machine()}")
    os.umask(0o022)
    tree = arguments.into / "deb"
    shutil.rmtree(tree, ignore_errors=True)
    lay_out(tree, arguments.version)
    describe(tree, arguments.version)
    name = f"sysmonlx_{arguments.version}_{ARCHITECTURES[platform.machine()]}.deb"
    pack(tree, arguments.into / name)
    shutil.rmtree(tree)
    print(f"  DEB      {arguments.into / name}")


if __name__ == "__main__":
    main()
