# SPDX-License-Identifier: MIT
"""A real systemd-journald takes every entry whole, whatever stands in its fields.

It runs in a mount namespace of its own, with empty /run and /var/log.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sysmonlx.output.forms import line_maker
from sysmonlx.output.journal import JournalMaker
from sysmonlx.output.lines import Lines
from sysmonlx.output.render import Writer
from sysmonlx.schema.events import EVENT_BY_ID

pytestmark = pytest.mark.kernel

JOURNALD = Path("/lib/systemd/systemd-journald")
SOCKET = "/run/systemd/journal.sysmonlx-test/socket"

#: argv: Python, this file, entries, where journalctl's answer goes.
SCRIPT = f"""\
set -e
mount -t tmpfs none /run; mount -t tmpfs none /var/log
mkdir -p /run/systemd /var/log/journal
{JOURNALD} sysmonlx-test 2>/dev/null & daemon=$!
for i in $(seq 200); do [ -S {SOCKET} ] && break; sleep 0.05; done
"$1" "$2" "$3"
journalctl --sync --namespace=sysmonlx-test || sleep 1
journalctl --namespace=sysmonlx-test -t sysmon --all -o json >"$4"
kill $daemon; wait $daemon || true
"""

NAMES = [
    "/tmp/plain",
    "/tmp/x\nPRIORITY=0\n",
    "\nMESSAGE\n\x05\0\0\0\0\0\0\0false\n",
    "/tmp/\udcff\udcfe\x1b[31m",
    "A" * 900_000,
]


def entries() -> Lines:
    """Return an entry of event 11 for each name."""
    fields = [field.name for field in EVENT_BY_ID[11].fields]
    maker = JournalMaker(line_maker("json", Writer("h", 1, 1, 0), 1 << 20, ()))
    known = [{"TargetFilename": name, "Image": "/bin/a"} for name in NAMES]
    events = [(11, [k.get(f, "-") for f in fields], False, None) for k in known]
    return maker.lines(events, 1, 10**18)


def test_every_entry_arrives_whole(
    tmp_path: Path, require: Callable[[str, bool, str], None]
) -> None:
    require("journald", JOURNALD.exists(), "systemd-journald is not installed")
    require("journald", bool(shutil.which("unshare")), "unshare is not installed")
    lines, answer = entries(), tmp_path / "answer"
    sent = tmp_path / "entries"
    sent.write_text(json.dumps([line.decode("latin-1") for line in lines.split()]))
    words = ["unshare", "-m", "--propagation", "private", "sh", "-c", SCRIPT, "sh"]
    words += [sys.executable, __file__, os.fspath(sent), os.fspath(answer)]
    environment = dict(os.environ, PYTHONPATH=os.fspath(Path(__file__).parents[3]))
    subprocess.run(words, check=True, timeout=60, env=environment)
    got = [json.loads(line) for line in answer.read_text().splitlines()]
    assert [each["SYSMON_RECORD_ID"] for each in got] == ["1", "2", "3", "4", "5"]
    for each, name in zip(got, NAMES, strict=True):
        value = each["SYSMON_TARGET_FILENAME"]
        raw = bytes(value) if isinstance(value, list) else value.encode()
        assert raw == name.encode("utf-8", "surrogateescape")
        assert each["MESSAGE"].startswith('{"Event":')
        assert (each["PRIORITY"], each["SYSMON_IMAGE"]) == ("6", "/bin/a")


def _send(entries_file: str) -> None:
    """Write the entries to the journal; in the namespace."""
    from sysmonlx.output.sinks.journald import JournaldSink

    texts = json.loads(Path(entries_file).read_text())
    sink = JournaldSink(SOCKET)
    sink.write_framed(Lines.of([text.encode("latin-1") for text in texts]))
    sink.close(5)
    assert sink.delivered == len(texts), sink.losses


if __name__ == "__main__":
    _send(sys.argv[1])
