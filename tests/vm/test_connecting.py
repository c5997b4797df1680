# SPDX-License-Identifier: MIT
"""Sockets that threads are connecting: noted on any kernel, as many as there is room.

Only the programs for them are loaded, which takes a moment on an emulated processor.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.watch import ACTIONS, ENVIRONMENT, PYTHON

from sysmonlx.capture import sensor
from sysmonlx.capture.kernel_facts import facts_of_kernel
from sysmonlx.capture.loader import Loader
from sysmonlx.capture.sensor import Capture, load_capture
from sysmonlx.enrich.pipe import PIPE_HOOKS

pytestmark = pytest.mark.kernel

HOOKS = [each for each in PIPE_HOOKS if "io_uring" not in each.name]
#: Notes that a kernel keeps here where tasks have no storage, and threads beyond them.
NOTES, MORE = 16, 3
#: Its threads wait in connect(2) until it ends: the queue of the listener is full.
CONNECTS = f"""
import os, socket, threading, time
from pathlib import Path
server = socket.socket(socket.AF_UNIX)
server.bind("s")
server.listen(0)
def connect():
    socket.socket(socket.AF_UNIX).connect("s")
if not os.fork():
    connect()
    os._exit(0)
os.wait()
threads = [threading.Thread(target=connect) for _ in range({NOTES + MORE})]
for each in threads:
    each.start()
for each in threads:
    call = Path(f"/proc/self/task/{{each.native_id}}/syscall")
    while not call.read_text().startswith("42 "):
        time.sleep(0.01)
os._exit(0)
"""


class FewNotes(Loader):
    """Makes a small table of notes."""

    def __init__(self, *given: object, only_reads: bool = False) -> None:
        super().__init__(*given, only_reads=only_reads)  # type: ignore[arg-type]  # what it was given
        if not facts_of_kernel("")["has_bpf_loop"]:
            self._entries["connecting_sockets"] = NOTES


@pytest.fixture(scope="module")
def capture() -> Iterator[Capture]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sensor, "Loader", FewNotes)
        made = load_capture(HOOKS, 1 << 20, 1 << 18)
    made.attach_processes()
    made.want(HOOKS)
    made.set_variable("wanted_records", 1 << made.layouts.number["pipe_connect"])
    yield made
    made.close()


def test_nothing_is_missing(capture: Capture) -> None:
    assert capture.missing == ()


def test_notes_end_with_the_call_and_what_cannot_be_noted_is_counted(
    capture: Capture, tmp_path: Path
) -> None:
    missed = 0 if facts_of_kernel("")["has_bpf_loop"] else MORE
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        subprocess.run([PYTHON, "-c", CONNECTS], cwd=folder, check=True)
        assert capture.variable("names_unproved") == missed * number


@pytest.mark.parametrize("what", ["socket", "other_family", "file"])
def test_a_swapped_descriptor_hides_nothing(
    capture: Capture, tmp_path: Path, what: str
) -> None:
    before = capture.counts()["pipe_connect"]
    words = [PYTHON, *map(str, (ACTIONS["actions_pipe.py"], tmp_path))]
    words.append(f"swapped_by_{what}")
    subprocess.run(words, env=ENVIRONMENT, check=True)
    after = capture.counts()["pipe_connect"]
    # Of a process that fills the queue, of the decoy, and of the thread.
    expected = 3 if what == "socket" else 2
    assert after.submitted - before.submitted == expected
    assert after.lost == before.lost
