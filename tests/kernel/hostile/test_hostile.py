# SPDX-License-Identifier: MIT
"""Programs that choose their names and arguments to forge, split or hide a line."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from lxml import etree
from support.running import Daemon

pytestmark = pytest.mark.kernel

FORGED = (
    b"</Data></EventData></Event>\n"
    b"Nov 22 21:05:59 vm sysmon: <Event><System><EventID>1</EventID>"
)
#: Any byte but NUL may be in an argument or a file name.
ARGUMENTS = [
    b"<&>\"'",
    b"]]> <![CDATA[ <!-- --> <?xml?> &amp; &#10; &lt;",
    FORGED,
    b"\n\r\t\x0b\x0c",
    b"\x1b[2J\x1b]0;title\x07\x9b31m",
    bytes(range(1, 256)),
    b"\xff\xfe \xc3 \xe2\x82 \xed\xa0\x80 \xf5\x80\x80\x80 \xc0\xaf",
    "\u2028\u2029\x85\ufffe\uffff\ufeff\u202e".encode(),
    b"\\x41 \\x5c \\x5cx41 \\\\x1b \\n \\u0041",
    b" leading and trailing ",
    b"",
    "日本語 é 😀".encode(),
    b"\xff" * 4000,
    b"<" * 4000,
]


class Line:
    """One line of the XML sink, by a parser that forgives nothing."""

    def __init__(self, line: bytes) -> None:
        root = etree.fromstring(line, etree.XMLParser(resolve_entities=False))
        assert root.tag == "Event"
        self.event_id = root.findtext("System/EventID")
        self.data = {
            each.get("Name"): undone(each.text or "")
            for each in root.iterfind("EventData/Data")
        }


def undone(text: str) -> bytes:
    """Return the bytes that were printed: escapes undone as the manual says."""
    return re.sub(
        rb"\\x([01][0-9a-f]|5c|7f|[89a-f][0-9a-f])",
        lambda match: bytes([int(match[1], 16)]),
        text.encode(),
    )


class Watch:
    """A daemon with an XML sink beside the usual one."""

    def __init__(self, daemon: Callable[..., Daemon], folder: Path) -> None:
        self.log = folder / "events.xml"
        sink = f'<Sink kind="file" form="xml">{self.log}</Sink>'
        self.daemon = daemon(settings=sink)

    def lines(self) -> list[Line]:
        self.daemon.settle()
        data = self.log.read_bytes()
        assert data.endswith(b"\n")
        return [Line(line) for line in data.removesuffix(b"\n").split(b"\n")]


@pytest.fixture
def watch(daemon: Callable[..., Daemon], tmp_path: Path) -> Watch:
    return Watch(daemon, tmp_path)


def test_arguments_come_back_byte_for_byte(watch: Watch) -> None:
    source = random.Random(23)
    drawn = [source.randbytes(200).replace(b"\0", b"") for _ in range(23)]
    marker = uuid.uuid4().hex.encode()
    arguments = ARGUMENTS + drawn
    for each in arguments:
        subprocess.run([b"true", marker, each], executable="/bin/true", check=True)
    shown = [
        line.data["CommandLine"]
        for line in watch.lines()
        if marker in line.data.get("CommandLine", b"")
        and line.data["Image"] == b"/usr/bin/true"
    ]
    wanted = [b"true %b %b" % (marker, each) for each in arguments]
    assert sorted(shown) == sorted(wanted)


def test_names_of_files_and_folders_come_back_byte_for_byte(
    watch: Watch, tmp_path: Path
) -> None:
    names = [each for each in ARGUMENTS if each and b"/" not in each]
    names = [each[:200] for each in names if len(each) < 255]
    assert len(names) > 5
    folder = os.fsencode(tmp_path)
    wanted = []
    for name in names:
        place = os.path.join(folder, b"in " + name)
        os.mkdir(place)
        image = os.path.join(place, name)
        shutil.copy(b"/bin/true", image)
        subprocess.run([b"true"], executable=image, cwd=place, check=True)
        wanted.append((image, place))
    lines = watch.lines()
    creates = [
        (line.data["Image"], line.data["CurrentDirectory"])
        for line in lines
        if line.event_id == "1" and line.data["Image"].startswith(folder + b"/in ")
    ]
    ends = [
        line.data["Image"]
        for line in lines
        if line.event_id == "5" and line.data["Image"].startswith(folder + b"/in ")
    ]
    assert sorted(creates) == sorted(wanted)
    assert sorted(ends) == sorted(image for image, _ in wanted)


def test_name_of_the_parent_cannot_forge_a_line(watch: Watch, tmp_path: Path) -> None:
    shell = os.path.join(os.fsencode(tmp_path), FORGED.replace(b"/", b"-"))
    shutil.copy(b"/bin/sh", shell)
    marker = uuid.uuid4().hex
    code = f"/bin/true {marker}; :"
    subprocess.run([FORGED, "-c", code], executable=shell, check=True)
    (line,) = [
        each
        for each in watch.lines()
        if each.data.get("CommandLine") == f"/bin/true {marker}".encode()
    ]
    assert line.data["ParentImage"] == shell
    assert line.data["ParentCommandLine"] == FORGED + b" -c " + code.encode()
