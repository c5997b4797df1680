# SPDX-License-Identifier: MIT
"""The commands of all pages that need no service, run as they are typed.

`make test-examples`. Files that a page takes for granted lie in a directory of the
test; what stands in place of journalctl(1) has the same events as those files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.examples import ROOT, Example, commands, pipeline
from support.incident import incident_lines

#: Programs that are run; a command line with any other one is not.
RUN = {
    "cp",
    "tail",
    "jq",
    "journalctl",
    "sysmonlx",
    "sysmonlx-logview",
    "sysmonlx-sigma",
}
MODULES = {
    "sysmonlx": "sysmonlx",
    "sysmonlx-logview": "sysmonlx.viewer",
    "sysmonlx-sigma": "sysmonlx.sigma_tool",
}
JOURNALCTL = """\
#!/bin/sh
case "$*" in *json*) file=journal.json ;; *) file=recorded.log ;; esac
exec cat '{}'/$file
"""
PROGRAM = """\
#!/bin/sh
exec '{}' -P -m {} "$@"
"""
#: Words of examples that are replaced: a path of the machine, a command without end.
PLACES = {
    "/usr/share/sysmonlx/": f"{ROOT}/config_schema/",
    "/var/log/": "log/",
    "/etc/sysmonlx/": "etc/",
    "tail -f": "tail",
}
FOUND = sorted({each.text: each for each in commands()}.values())


def needs_no_service(example: Example) -> bool:
    programs = [words for words in pipeline(example.text) if words]
    ours = [words for words in programs if words[0] in MODULES]
    return (
        bool(ours)
        and all(words[0] in RUN for words in programs)
        and all(words[0] != "sysmonlx" or "-test" in words for words in ours)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files and programs that pages take for granted."""
    made = tmp_path_factory.mktemp("examples")
    for name in ("log", "etc", "bin", "rules"):
        (made / name).mkdir()
    now = datetime.now(UTC)
    moments = (now - timedelta(days=1), now - timedelta(hours=1))
    lines = [each for then in moments for each in moved(incident_lines(), then)]
    for name in ("recorded.log", "log/syslog", "log/sysmon.log", "events.xml"):
        (made / name).write_text("".join(f"{each}\n" for each in lines))
    for name in ("config.xml", "new.xml", "my.xml"):
        shutil.copy(ROOT / "config_schema/examples/server.xml", made / name)
    for path in sorted((ROOT / "config_schema/rules").glob("*.yml"))[:5]:
        shutil.copy(path, made / "rules")
    entries = [{"MESSAGE": each} for each in lines]
    (made / "journal.json").write_text("".join(f"{json.dumps(e)}\n" for e in entries))
    write_program(made / "bin/journalctl", JOURNALCTL.format(made))
    for name, module in MODULES.items():
        write_program(made / "bin" / name, PROGRAM.format(sys.executable, module))
    return made


def moved(lines: list[str], then: datetime) -> list[str]:
    """Return the lines of an incident as if it had happened in another hour."""
    return [
        each.replace("2026-01-05 10:", then.strftime("%Y-%m-%d %H:")).replace(
            "2026-01-05T10:", then.strftime("%Y-%m-%dT%H:")
        )
        for each in lines
    ]


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.parametrize(
    "example", [e for e in FOUND if needs_no_service(e)], ids=lambda e: e.place
)
def test_command_does_what_it_says(example: Example, folder: Path) -> None:
    typed = example.text
    for path, instead in PLACES.items():
        typed = typed.replace(path, instead)
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", typed],
        cwd=folder,
        env={
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "PYTHONPATH": os.fspath(ROOT),
        },
        input=(folder / "recorded.log").read_text(),
        capture_output=True,
        text=True,
        check=False,
    )
    # "xml" says by 1 that some rules ask what Sysmon cannot.
    ended_well = (0, 1) if " xml " in typed else (0,)
    assert result.returncode in ended_well, f"{typed}\n{result.stdout}{result.stderr}"
    assert "Traceback" not in result.stderr
    writes = any(each in typed for each in (" --html ", " pack ", " xml "))
    assert result.stdout or writes
    assert "no events" not in result.stderr
