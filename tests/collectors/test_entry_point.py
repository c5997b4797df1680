# SPDX-License-Identifier: MIT
"""The entry point of the container, with its capabilities and a read-only root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

from support.running import DEADLINE_S, REPOSITORY, wait_until

from sysmonlx.host.capabilities import KEPT, NAMES

#: As a runtime has it: nothing is writable but the volume, which all may write to.
SCRIPT = """\
set -e
mount -t tmpfs -o mode=0777 none "$SYSMONLX_ROOT"
mount --rbind / / && mount -o remount,ro,bind /
exec setpriv --bounding-set "$CAPABILITIES" --inh-caps -all "$ENTRY"
"""


def test_entry_point_captures_and_ends_as_a_container_should(tmp_path: Path) -> None:
    work, program, log = tmp_path / "work", tmp_path / "sysmonlx", tmp_path / "log"
    work.mkdir()
    words = f'cd /; exec {sys.executable} -P -m sysmonlx "$@"'
    program.write_text(f"#!/bin/sh\n{words}\n")
    program.chmod(0o755)
    names = ",".join(f"+{NAMES[each].lower()}" for each in KEPT)
    environment = {
        **os.environ,
        **{"SYSMONLX_ROOT": str(work), "SYSMONLX": str(program)},
        **{"CONFIG": str(REPOSITORY / "container/config.xml")},
        **{"ENTRY": str(REPOSITORY / "container/entrypoint.sh")},
        **{"CAPABILITIES": f"-all,{names},+sys_resource"},
        **{"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
    }
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", SCRIPT]
    with log.open("wb") as file:
        container = subprocess.Popen(command, stdout=file, env=environment)
    try:
        wait_for(log, lambda data: data.get("State") == "Started")
        marker = uuid.uuid4().hex
        subprocess.run(["/bin/true", marker], check=True)
        found = wait_for(log, lambda data: marker in data.get("CommandLine", ""))
        assert found["User"] == "root"
        assert found["Hashes"].startswith("SHA256=")
    finally:
        container.send_signal(signal.SIGTERM)
        assert container.wait(DEADLINE_S) == 0
    assert events(log)[-1]["State"] == "Stopped"


def events(log: Path) -> list[dict[str, str]]:
    lines = log.read_bytes().split(b"\n")[:-1]
    return [json.loads(line)["Event"]["EventData"] for line in lines]


def wait_for(log: Path, is_it: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    found: list[dict[str, str]] = []

    def has_come() -> bool:
        found[:] = filter(is_it, events(log))
        return bool(found)

    wait_until(has_come)
    return found[0]
