# SPDX-License-Identifier: MIT
"""A small initramfs: busybox, a few modules, and the script that mounts the host."""

from __future__ import annotations

import lzma
import stat
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")

#: What the first program says on the console.
STARTED = "vm: started"

#: First program of the guest: the host's root, read-only, under one in memory.
INIT = """\
#!/busybox sh
b=/busybox
die() {{ echo "vm: $*"; $b poweroff -f; }}
echo "{started}"
$b mkdir -p /proc /sys /dev /host /memory /new
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
for module in $($b cat /modules.order); do
    $b insmod /modules/$module || die "insmod $module"
done
$b mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose \\
    host /host || die "the host's files"
$b mount -t tmpfs -o size=75% memory /memory
$b mkdir /memory/upper /memory/work
$b mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work \\
    root /new || die "overlay"
$b mount -t tmpfs -o mode=755 run /new/run
$b mkdir /new/run/vm
$b cp /busybox /start /command /new/run/vm/
for directory in proc sys dev; do $b mount -o move /$directory /new/$directory; done
exec $b switch_root /new /run/vm/busybox sh /run/vm/start
"""

#: Second program, in the new root: what a running system has mounted, the command.
START = """\
b=/run/vm/busybox
$b mkdir -p /dev/pts /dev/shm
$b mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
$b mount -t tmpfs -o mode=1777 shm /dev/shm
$b mount -t tmpfs -o size=75%,mode=1777 tmp {tmp}
$b mount -t securityfs securityfs /sys/kernel/security
$b mount -t tracefs tracefs /sys/kernel/tracing
$b mount -t cgroup2 cgroup2 /sys/fs/cgroup
$b mount -t bpf bpf /sys/fs/bpf
$b mkdir -p /lib/modules
$b mkdir -p /lib/modules/$($b uname -r)
$b mount -o bind {modules} /lib/modules/$($b uname -r)
/sbin/modprobe loop
$b ln -s /proc/self/fd /dev/fd
$b ip link set lo up
$b hostname vm
ulimit -l unlimited  # before v5.11 it bounds the BPF maps of all of a user's processes
for port in ttyS1 ttyS2; do $b stty -F /dev/$port raw -echo; done
$b setsid /bin/sh /run/vm/command </dev/null >/dev/ttyS1 2>&1
echo $? >/dev/ttyS2
$b stty -F /dev/ttyS2 raw
$b poweroff -f
"""


def build(path: Path, modules: Path, command: str) -> None:
    """Write an initramfs whose guest runs `command`, a script for /bin/sh."""
    archive = _Archive()
    archive.add("busybox", BUSYBOX.read_bytes(), 0o755)
    archive.add("init", INIT.format(started=STARTED).encode(), 0o755)
    # What the checkout needs stays visible where it lies below /tmp.
    tmp = "/dev/shm" if str(modules).startswith("/tmp/") else "/tmp"
    archive.add("start", START.format(modules=modules, tmp=tmp).encode())
    archive.add("command", command.encode())
    archive.directory("modules")
    files = load_order(modules)
    for file in files:
        archive.add(f"modules/{_plain(file)}", _module(modules / file))
    archive.add("modules.order", "\n".join(map(_plain, files)).encode())
    path.write_bytes(archive.finish())


def load_order(modules: Path) -> list[str]:
    """Return the files that MODULES need, each after what it depends on."""
    needs: dict[str, tuple[str, list[str]]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        file, _, depends = line.partition(":")
        name = _plain(file).removesuffix(".ko").replace("-", "_")
        needs[name] = file, depends.split()
    order: dict[str, None] = {}
    for name in MODULES:
        if name in needs:  # else it is built in
            file, others = needs[name]
            order |= dict.fromkeys((*reversed(others), file))
    return list(order)


def _plain(file: str) -> str:
    return Path(file).name.removesuffix(".xz")


def _module(file: Path) -> bytes:
    data = file.read_bytes()
    return lzma.decompress(data) if file.suffix == ".xz" else data


class _Archive:
    """cpio in the "newc" form, Documentation/driver-api/early-userspace/."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._count = 0

    def add(self, name: str, data: bytes, mode: int = 0o644) -> None:
        self._entry(name, data, stat.S_IFREG | mode)

    def directory(self, name: str) -> None:
        self._entry(name, b"", stat.S_IFDIR | 0o755)

    def finish(self) -> bytes:
        self._entry("TRAILER!!!", b"", 0)
        return bytes(self._data)

    def _entry(self, name: str, data: bytes, mode: int) -> None:
        self._count += 1
        numbers = [self._count, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1]
        self._data += b"070701" + b"".join(b"%08X" % each for each in (*numbers, 0))
        self._data += name.encode() + b"\0"
        self._pad()
        self._data += data
        self._pad()

    def _pad(self) -> None:
        self._data += bytes(-len(self._data) % 4)
