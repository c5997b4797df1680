# SPDX-License-Identifier: MIT
"""Acts of an image whose record was lost: of that image or of none, never of another.

The daemon runs in this very process, and reads the ring when the test says so.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import kept_programs
from support.running import EVERYTHING, UNLIMITED, wait_until

from sysmonlx.config.child import read_data
from sysmonlx.config.command_line import CommandLineOptions
from sysmonlx.service.daemon import Daemon, start
from sysmonlx.service.installed import Paths
from sysmonlx.service.wiring import Options

pytestmark = pytest.mark.kernel

#: A program that makes files and runs another program, as it is told.
ACTS = """
import os, sys
for line in sys.stdin:
    what, name = line.split()
    os.mknod(name) if what == "make" else os.execv(name, [name, "60"])
"""
#: A shell that becomes this program. No room for such a record is in a ring that is
#: nearly full.
BECOMES = ["/bin/sh", "-c", 'read go; exec "$@" ' + "x" * 3000, "sh"]
PYTHON = [sys.executable, "-S", "-u", "-c", ACTS]
#: More short programs than the ring has room for.
FILLS = f"i=0; while [ $i -lt 200 ]; do /bin/true {'y' * 300}; i=$((i+1)); done"


class Stepped:
    """A daemon with a small ring that reads it when `read` is called."""

    def __init__(self, root: Path, wanted: Path) -> None:
        self.log = root / "events.json"
        file = f'<TargetFilename condition="begin with">{wanted}/</TargetFilename>'
        text = (
            '<Sysmon schemaversion="4.90"><EventFiltering>'
            f'{EVERYTHING}<FileCreate onmatch="include">{file}</FileCreate>'
            '</EventFiltering><Settings xmlns="urn:sysmonlx:settings">'
            f'<Sink kind="file" form="json">{self.log}</Sink>{UNLIMITED}'
            "<RingSize>64K</RingSize></Settings></Sysmon>"
        )
        policy = read_data(text.encode(), "test", CommandLineOptions()).policy
        assert policy is not None
        paths = Paths(root)
        kept_programs.put(paths)
        paths.create_private()
        self.daemon: Daemon = start(policy, Options(paths, drops_capabilities=False))

    def read(self) -> None:
        """Take all that is in the ring; do no chores, which look at all processes."""

        def is_done() -> bool:
            self.daemon.reader.work()
            self.daemon.parts.output.flush()
            return not self.daemon.parts.capture.ring.fill()

        wait_until(is_done)

    def image_that_made(self, path: Path) -> str:
        """Return the Image of the event of this file."""
        self.read()
        events = [
            json.loads(line)["Event"]
            for line in self.log.read_text().split("\n")
            if line
        ]
        (found,) = [
            each["EventData"]["Image"]
            for each in events
            if each["EventData"].get("TargetFilename") == os.fspath(path)
        ]
        return str(found)

    @contextmanager
    def program_whose_record_is_lost(self) -> Iterator[subprocess.Popen[str]]:
        """Have a shell become another program while the ring is full."""
        with subprocess.Popen(
            [*BECOMES, *PYTHON], stdin=subprocess.PIPE, text=True
        ) as process:
            self.read()
            subprocess.run(["/bin/sh", "-c", FILLS], check=True)
            tell(process, "go")
            wait_until(lambda: "python" in image_of(process.pid))
            table = self.daemon.parts.processes
            look, table.rescan = table.rescan, None  # other records would have it look
            try:
                self.read()
                table.rescan = look
                yield process
            finally:
                table.rescan = look
                process.kill()


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def image_of(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/exe")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory, place: Path) -> Iterator[Stepped]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    root = tmp_path_factory.mktemp("root")
    root.chmod(0o700)
    made = Stepped(root, place)
    yield made
    made.daemon.close()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_image_that_still_runs_is_found_by_a_look_at_all_processes(
    stepped: Stepped, place: Path
) -> None:
    with stepped.program_whose_record_is_lost() as process:
        runs = image_of(process.pid)
        tell(process, f"make {place}/one")
        wait_until((place / "one").exists)
        assert stepped.image_that_made(place / "one") == runs


def test_image_that_has_gone_has_no_name(stepped: Stepped, place: Path) -> None:
    """It has run a third program by the time that the record of its act is read."""
    with stepped.program_whose_record_is_lost() as process:
        tell(process, f"make {place}/two")
        tell(process, "run /bin/sleep")
        wait_until(lambda: "sleep" in image_of(process.pid))
        assert stepped.image_that_made(place / "two") == "-"
