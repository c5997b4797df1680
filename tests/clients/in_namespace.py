# SPDX-License-Identifier: MIT
"""Runs a command where dnsmasq answers: `in_namespace.py [resolved DIRECTORY] COMMAND`.

Network and mounts are its own. With "resolved", systemd-resolved of that directory is
between the two, and the C library asks it by its socket.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kernel.events.network.connections import LIBC, own_network

CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
PR_SET_PDEATHSIG = 1
USER = "systemd-resolve"
SOCKET = "/run/systemd/resolve/io.systemd.Resolve"
DNSMASQ = [
    *("/usr/sbin/dnsmasq", "--no-daemon", "--no-resolv", "--no-hosts", "--conf-file="),
    *("--listen-address=127.0.0.1", "--bind-interfaces", "--user=root", "--pid-file="),
    *("--address=/a.test/192.0.2.1", "--address=/a.test/2001:db8::1"),
]


def own_mounts() -> None:
    assert LIBC.unshare(CLONE_NEWNS) == 0
    assert LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0


def replace(path: str, text: str) -> None:
    """Have a file with this text in the place of another one."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(text)
        file.flush()
        os.chmod(file.name, 0o644)
        there = os.path.realpath(path).encode()
        assert LIBC.mount(file.name.encode(), there, None, MS_BIND, None) == 0


def start(command: list[str], **environment: str) -> None:
    """Start a server that ends with this process.

    It is killed as well: one that changes its user is told of no parent's death.
    """
    server = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    atexit.register(server.kill)


def wait_for(is_there: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_there():
        assert time.monotonic() < end, "a server does not start"
        time.sleep(0.05)


def answers() -> bool:
    try:
        socket.create_connection(("127.0.0.1", 53)).close()
    except OSError:
        return False
    return True


def resolved(root: Path) -> None:
    """Start systemd-resolved as the only way of the C library to names."""
    for words in (
        "link add d0 type veth peer name d1",  # without a link it asks nobody
        "address add 10.9.9.1/24 dev d0",
        "link set d0 up",
        "link set d1 up",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    assert LIBC.mount(b"none", b"/run", b"tmpfs", 0, None) == 0
    Path(SOCKET).parent.mkdir(parents=True)
    for name in ("passwd", "group"):
        line = f"{USER}:x:995:{'995::/:/usr/sbin/nologin' if name == 'passwd' else ''}"
        text = Path("/etc", name).read_text()
        replace(f"/etc/{name}", text if f"{USER}:" in text else f"{text}{line}\n")
    subprocess.run(["chown", f"{USER}:{USER}", Path(SOCKET).parent], check=True)
    assert LIBC.mount(b"none", b"/etc/systemd", b"tmpfs", 0, None) == 0
    settings = "[Resolve]\nDNS=127.0.0.1\nDNSStubListener=no\nDNSSEC=no\nLLMNR=no\n"
    Path("/etc/systemd/resolved.conf").write_text(settings + "MulticastDNS=no\n")
    folders = ":".join(map(str, Path("/").glob("usr/lib/*/systemd")))
    program = root / "lib/systemd/systemd-resolved"
    start([os.fspath(program)], LD_LIBRARY_PATH=folders)
    wait_for(lambda: Path(SOCKET).exists())
    (module,) = root.glob("usr/lib/*/libnss_resolve.so.2")
    os.environ["LD_LIBRARY_PATH"] = os.fspath(module.parent)


if __name__ == "__main__":
    words = sys.argv[1:]
    own_network()
    own_mounts()
    replace("/etc/resolv.conf", "nameserver 127.0.0.1\n")
    hosts = "resolve" if words[0] == "resolved" else "files dns"
    replace("/etc/nsswitch.conf", f"passwd: files\ngroup: files\nhosts: {hosts}\n")
    start(DNSMASQ)
    wait_for(answers)
    if words[0] == "resolved":
        resolved(Path(words[1]))
        words = words[2:]
    sys.exit(subprocess.run(words, check=False).returncode)
