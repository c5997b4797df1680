# SPDX-License-Identifier: MIT
"""More threads that connect at once than a kernel can keep notes of."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.running import Daemon
from support.watch import ACTIONS, ENVIRONMENT, PYTHON, watching

from sysmonlx.capture.kernel_facts import facts_of_kernel

pytestmark = pytest.mark.kernel

RULES = '<ProcessCreate onmatch="exclude"/><PipeEvent onmatch="exclude"/>'
#: Notes that kernels keep where tasks have no storage of their own.
NOTES, MORE = 4096, 100
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
threading.stack_size(65536)
for _ in range({NOTES + MORE}):
    last = threading.Thread(target=connect)
    last.start()
call = Path(f"/proc/self/task/{{last.native_id}}/syscall")
while not call.read_text().startswith("42 "):
    time.sleep(0.01)
os._exit(0)
"""


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with watching(tmp_path_factory.mktemp("daemon") / "root", RULES) as daemon:
        yield daemon


def unproved(daemon: Daemon) -> int:
    count: int = daemon.stats()["unproved_names"]
    return count


def test_what_cannot_be_noted_is_counted(watch: Daemon, tmp_path: Path) -> None:
    subprocess.run([PYTHON, "-c", CONNECTS], cwd=tmp_path, check=True)
    has_storage = facts_of_kernel("")["has_bpf_loop"]
    assert unproved(watch) == (0 if has_storage else MORE)


def test_notes_are_given_back(watch: Daemon, tmp_path: Path) -> None:
    before = unproved(watch)
    way = "swapped_by_file"
    words = [PYTHON, ACTIONS["actions_pipe.py"], tmp_path, way]
    done = subprocess.run(words, env=ENVIRONMENT, stdout=subprocess.PIPE, check=True)
    pid = done.stdout.decode().split()[1]
    events = [each for each in watch.settle() if "PipeName" in each]
    names = [each["PipeName"] for each in events if each["ProcessId"] == pid]
    assert names == [f"{tmp_path}/{way}/s"] * 2
    assert unproved(watch) == before
