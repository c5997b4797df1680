# SPDX-License-Identifier: MIT
"""What fires each rule that comes with the program, and what nearly does.

The scripts of `tests/data/rule_actions.txt` are run one after the other in a root of
their own by `support.rule_driver`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
TABLE = TESTS / "data" / "rule_actions.txt"
#: Programs that do what a shell cannot, by their names in the root; x86-64 only.
HELPERS = {
    "actions_bpf.py": TESTS / "kernel/events/bpf/actions_bpf.py",
    "actions_tampering.py": TESTS / "kernel/events/tampering/actions_tampering.py",
    "support/ways.py": TESTS / "support/ways.py",
}
_SIGNS = {"+": "fires", "-": "quiet", ".": "setup"}
#: Runs the source that its first line is.
_DRIVER = "import json, sys; exec(json.loads(sys.stdin.readline()))"


@dataclass(slots=True)
class Action:
    """Scripts for a rule: one that fires it, one that does not."""

    fires: str = ""
    quiet: str = ""
    setup: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """A script that was run: the first process of it, and what it complained of."""

    rule: str
    kind: str
    pid: int
    complaint: str


def actions(table: Path = TABLE) -> dict[str, Action]:
    """Return a table: actions by the name of a rule's file, and those of `setup`."""
    found: dict[str, Action] = {}
    action = Action()
    for line in table.read_text("utf-8").splitlines():
        if head := re.fullmatch(r"\[(\w+)\]", line):
            assert head[1] not in found, line
            action = found[head[1]] = Action()
        elif line and not line.startswith("#"):
            kind = _SIGNS[line[0]]
            setattr(action, kind, getattr(action, kind) + line[2:] + "\n")
    return found


def run_all(top: Path, wanted: set[str] | None = None) -> list[Done]:
    """Run scripts of the table in a root of their own below `top`, an empty directory.

    `wanted`: names of rules; all of them where it is None.
    """
    table = actions()
    setup = table.pop("setup").setup
    work = [
        (name, kind, getattr(action, kind))
        for name, action in table.items()
        if wanted is None or name in wanted
        for kind in ("fires", "quiet")
    ]
    return run_scripts(top, setup, work)


def run_scripts(
    top: Path,
    setup: str,
    work: Sequence[tuple[str, str, str]],
    *,
    group: int | None = None,
) -> list[Done]:
    """Run scripts as `run_all` does; `work` has a name, a kind and a script each.

    `group`: a descriptor of cgroup.procs. What is behind `setup` runs in that control
    group then, and in the network of this machine.
    """
    helpers = {name: path.read_text("utf-8") for name, path in HELPERS.items()}
    message = {"setup": setup, "work": work, "helpers": helpers, "group": group}
    network = ["--net"] if group is None else []
    source = (TESTS / "support" / "rule_driver.py").read_text("utf-8")
    (top / "machine").mkdir()
    result = subprocess.run(
        [
            *("setpriv", "--pdeathsig=KILL"),  # for tests that are killed
            *("unshare", "--mount", "--uts", "--ipc", *network, "sh"),
            *(TESTS / "support" / "private_root.sh", top / "machine"),
            *(os.path.realpath(sys.executable), "-I", "-S", "-c"),
            _DRIVER,
        ],
        input=f"{json.dumps(source)}\n{json.dumps(message)}",
        capture_output=True,
        text=True,
        check=False,
        pass_fds=() if group is None else (group,),
    )
    assert result.returncode == 0, result.stderr
    return [Done(*json.loads(line)) for line in result.stdout.splitlines()]
