# SPDX-License-Identifier: MIT
from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sysmonlx.schema import events
from sysmonlx.schema.event_types import EventType
from sysmonlx.schema.options import OLD_OPTIONS, OPTIONS, OWN_OPTIONS
from sysmonlx.service.installed import Paths

MANUAL = Path(__file__).parents[3] / "man/sysmonlx.8"
#: Every macro that the pages mean. "In" at the begin of a sentence is another one.
MACROS = re.compile(
    "Dd|Dt|Os|Sh|Ss|Pp|Bl|It|Bd|Dl|Nm|Nd|Fl|Ar|Op|Cm|Ql|Li|Pa|Xr|Sx|Sy|Em|Ev|Dv|Pq|Po|Dq|Sq"
)


@pytest.fixture(scope="module")
def text() -> str:
    return MANUAL.read_text()


@pytest.mark.skipif(not shutil.which("mandoc"), reason="needs mandoc")
def test_manual_has_no_warning() -> None:
    command = ["mandoc", "-T", "lint", "-W", "warning", str(MANUAL)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout == ""
    assert result.returncode == 0


@pytest.mark.skipif(not shutil.which("mandoc"), reason="needs mandoc")
@pytest.mark.parametrize("section", [5, 8])
def test_no_word_of_the_text_is_taken_for_a_macro(section: int) -> None:
    page = MANUAL.with_suffix(f".{section}")
    command = ["mandoc", "-T", "tree", str(page)]
    tree = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = set(re.findall(r"^ *([A-Z][a-z]) \((?:elem|block)\)", tree, re.MULTILINE))
    assert "Sh" in found
    assert [name for name in found if not MACROS.fullmatch(name)] == []


@pytest.mark.parametrize(
    "switch",
    [each.switch for each in (*OPTIONS, *OLD_OPTIONS, *OWN_OPTIONS) if each.switch],
)
def test_every_switch_is_described(text: str, switch: str) -> None:
    name = r"\\&-" if switch == "-" else re.escape(switch)
    assert re.search(rf"^\.(It .*)?Fl {name}( |$)", text, re.MULTILINE)


@pytest.mark.parametrize(
    "event",
    [events.EVENT_BY_ID[number] for number in sorted(events.PRODUCED)],
    ids=lambda event: event.name,
)
def test_every_field_of_an_event_is_described(text: str, event: EventType) -> None:
    section = re.search(rf"^\.Ss {event.id}: (.*?)^\.S[sh]", text, re.M | re.S)
    assert section
    items = re.findall(r"^\.It Em (.*)$", section[1], re.MULTILINE)
    names = [name for item in items for name in item.split(" , ")]
    wanted = [each.name for each in event.fields if each.name != "RuleName"]
    assert sorted(names) == sorted(wanted)


def test_every_place_is_named(text: str) -> None:
    paths = Paths()
    for directory in (paths.state_dir, paths.run_dir):
        assert f".It Pa {directory}/\n" in text
    for path in (paths.config_file, paths.unit_file):
        assert f".It Pa {path}\n" in text
    for path in (paths.record_id_file, paths.policy_file, paths.command_line_file):
        assert f".Pa {path.name} ,\n" in text
    assert f".Pa {paths.pid_file.name}\n" in text
