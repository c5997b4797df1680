# SPDX-License-Identifier: MIT
"""Rows: one an event, exact for each event and branch, and safe for any value."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.logview import values_of
from support.strategies import examples
from wcwidth import wcswidth

from sysmonlx.schema.event_types import EventType
from sysmonlx.schema.events import EVENTS
from sysmonlx.viewer.bodies import short_address
from sysmonlx.viewer.rows import Rows, Style, level_of, title_of
from sysmonlx.viewer.signs import ASCII, UNICODE

GOLDEN = Path(__file__).parents[2] / "golden/rows"
COMMON = {
    "UtcTime": "2026-01-05 12:01:07.214",
    "ProcessGuid": "{g}",
    "ProcessId": "4242",
    "SourceProcessId": "4242",
    "Image": "/usr/bin/curl",
    "SourceImage": "/usr/bin/gdb",
    "User": "alice",
    "SourceUser": "alice",
}
START = {
    "CommandLine": "curl -s https://example.org/x",
    "ParentImage": "/usr/bin/bash",
    "ParentProcessId": "4100",
}
NET = {
    "Protocol": "tcp",
    "Initiated": "true",
    "SourceIp": "10.0.0.5",
    "SourcePort": "50122",
    "DestinationIp": "93.184.216.34",
    "DestinationPort": "443",
}
LONG = "curl " + " ".join(f"--header=X-{n}:{n * 7919}" for n in range(20)) + " END"
DOWNLOAD = "technique_id=T1105,technique_name=download"
TARGET = {
    "TargetImage": "/usr/bin/sleep",
    "TargetProcessId": "77",
    "GrantedAccess": "0x1fffff",
    "StartAddress": "0x7f00",
    "StartModule": "/lib/libc.so",
}

#: Name of a case, event, depth in the tree, what was folded into it, values.
CASES: list[tuple[str, int, int, str, int, dict[str, str]]] = [
    ("start", 1, 0, "", 1, START),
    ("start of a child", 1, 1, "", 1, START),
    ("start deep in the tree", 1, 11, "", 1, START),
    ("start with its end", 1, 1, "exit 0.02 s", 1, START),
    ("start that repeats", 1, 0, "exit 3 ms", 1204, START),
    ("start under a rule", 1, 0, "", 1, START | {"RuleName": DOWNLOAD}),
    ("start, long", 1, 2, "exit 0.02 s", 1, START | {"CommandLine": LONG}),
    (
        "start, long, under a rule",
        1,
        0,
        "",
        1,
        START | {"CommandLine": LONG, "RuleName": "A long name of a rule " * 4},
    ),
    ("start of another image", 1, 0, "", 1, START | {"Image": "/usr/bin/dash"}),
    ("start of a login shell", 1, 0, "", 1, START | {"CommandLine": "-curl"}),
    ("start without arguments", 1, 0, "", 1, START | {"CommandLine": ""}),
    ("start by an unknown parent", 1, 0, "", 1, START | {"ParentImage": "-"}),
    ("start, wide", 1, 0, "", 1, START | {"CommandLine": "curl " + "日本語" * 30}),
    (
        "start, hostile",
        1,
        1,
        "",
        1,
        START | {"CommandLine": "curl  [T1] ─ x\n\x1b[2J\u202e\udcff "},
    ),
    ("end", 5, 0, "", 1, {}),
    ("connection", 3, 0, "", 1, NET),
    ("connection of a shown process", 3, 1, "", 1, NET),
    ("connection accepted", 3, 0, "", 1, NET | {"Initiated": "false"}),
    ("connection, IPv6", 3, 0, "", 1, NET | {"SourceIp": "2001:db8:0:0:0:0:0:1"}),
    (
        "connection with a name",
        3,
        0,
        "",
        1,
        NET | {"DestinationHostname": "example.org"},
    ),
    ("file", 11, 1, "", 1, {"TargetFilename": "/tmp/x", "User": "root"}),
    (
        "file, critical",
        11,
        0,
        "",
        1,
        {
            "TargetFilename": "/etc/cron.d/x",
            "RuleName": "sigma=Cron job,level=critical",
        },
    ),
    (
        "file, high, several rules",
        11,
        0,
        "",
        1,
        {"TargetFilename": "/tmp/x", "RuleName": "sigma=Cron job,level=high +2"},
    ),
    (
        "file, medium",
        11,
        0,
        "",
        1,
        {"TargetFilename": "/tmp/x", "RuleName": "sigma=Cron job,level=medium"},
    ),
    (
        "file, low",
        11,
        0,
        "",
        1,
        {"TargetFilename": "/tmp/x", "RuleName": "sigma=Cron job,level=low"},
    ),
    ("file time", 2, 0, "", 1, {"TargetFilename": "/tmp/x", "CreationUtcTime": "now"}),
    ("file deleted", 23, 0, "", 1, {"TargetFilename": "/tmp/x y"}),
    ("file deletion detected", 26, 0, "", 1, {"TargetFilename": f"/{'d' * 200}/x"}),
    ("stream", 15, 0, "", 1, {"TargetFilename": "/tmp/x:s", "Contents": "text"}),
    ("name", 22, 0, "", 1, {"QueryName": "a.org", "QueryResults": "10.0.0.1;"}),
    ("no such name", 22, 0, "", 1, {"QueryName": "a.org", "QueryStatus": "9003"}),
    ("name failed", 22, 0, "", 1, {"QueryName": "a.org", "QueryStatus": "7"}),
    (
        "driver",
        6,
        0,
        "",
        1,
        {"ImageLoaded": "/lib/x.ko", "SignatureStatus": "Unsigned"},
    ),
    ("library", 7, 0, "", 1, {"ImageLoaded": "/lib/x.so"}),
    ("thread", 8, 0, "", 1, TARGET),
    ("disk", 9, 0, "", 1, {"Device": "/dev/sda"}),
    ("access", 10, 0, "", 1, TARGET),
    ("pipe made", 17, 0, "", 1, {"PipeName": "/tmp/p"}),
    ("pipe used", 18, 0, "", 1, {"PipeName": "/tmp/p"}),
    ("tampering", 25, 0, "", 1, {"Type": "Image is replaced"}),
    (
        "bpf",
        100,
        0,
        "",
        1,
        {"BpfProgramType": "KPROBE", "BpfProgramName": "p", "BpfProgramId": "7"},
    ),
    ("state", 4, 0, "", 1, {"State": "Started", "Version": "0.1.0"}),
    (
        "configuration",
        16,
        0,
        "",
        1,
        {"Configuration": "a.xml", "ConfigurationFileHash": f"SHA256={'ab' * 32}"},
    ),
    ("error", 255, 0, "", 1, {"ID": "LostEvents", "Description": "1 lost (ring full)"}),
    ("registry", 13, 0, "", 1, {"TargetObject": "HKLM x", "Details": "1"}),
    ("long user", 11, 0, "", 1, {"TargetFilename": "/x", "User": "alexandrina"}),
    ("unknown user", 11, 0, "", 1, {"TargetFilename": "/x", "User": "-"}),
    ("time that is none", 11, 0, "", 1, {"TargetFilename": "/x", "UtcTime": "-"}),
    ("huge pid", 11, 0, "", 1, {"TargetFilename": "/x", "ProcessId": "4194304"}),
]
SIGNS = {"unicode": UNICODE, "ascii": ASCII}


def drawn(style: Style) -> str:
    rows = Rows(style)
    lines = []
    for _, event_id, depth, note, count, values in CASES:
        row = rows.row(event_id, values_of(event_id, **(COMMON | values)), depth)
        row.note, row.count = note, count
        lines.append(rows.line(row))
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize(
    ("width", "signs", "has_colour"), [*product((80, 140), SIGNS, (False, True))]
)
def test_rows_are_exact(
    width: int, signs: str, has_colour: bool, update_golden: bool
) -> None:
    style = Style(width, has_colour, has_tree=True, signs=SIGNS[signs])
    text = drawn(style)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "\x1b" not in plain
    for line in plain.splitlines():
        assert wcswidth(line) <= width
        assert signs == "unicode" or line.isascii()
    path = GOLDEN / f"{width}-{signs}{'-colour' * has_colour}.txt"
    shown = text.replace("\x1b", "\\e")
    if update_golden:
        path.write_text(shown)
    assert shown == path.read_text()


def test_rows_of_a_pipe_are_exact(update_golden: bool) -> None:
    path, text = GOLDEN / "pipe.txt", drawn(Style())
    if update_golden:
        path.write_text(text)
    assert text == path.read_text()


def test_every_event_has_a_case() -> None:
    named = {event_id for _, event_id, *_ in CASES}
    like_registry = {12, 13, 14, 19, 20, 21, 24}
    without = {event.id for event in EVENTS} - named - like_registry
    assert not without, f"CASES of this file has no row of events {without}"


HOSTILE = [
    "\x1b]0;title\x07\x1b[2J",
    "a\nb\rc\td",
    "\u202egpj.exe\u200b\ufeff",
    "\udcff\udcfe\x9b31m",
    "  [T1105 download]",
    "x  exit 0.02 s  ×37",
    "bash ─ curl",
    "日本語" * 40,
    "❤\ufe0f" * 40,
    "e\u0301" * 60,
    "\U0001fae8\U0001f468\u200d\U0001f469" * 20,
    "\u1100\u1161" * 40,
    "\u0378\U000e0041\ue000\u0600",
    "",
    " ",
]
texts = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(max_size=120),
    st.binary(max_size=80).map(lambda data: data.decode("utf-8", "surrogateescape")),
)


@examples(400)
@given(
    event=st.sampled_from(EVENTS),
    text=texts,
    other=texts,
    width=st.sampled_from([20, 21, 39, 40, 41, 59, 60, 80, 99, 100, 140]),
    depth=st.integers(0, 12),
    is_ascii=st.booleans(),
)
@example(EVENTS[1], HOSTILE[8], HOSTILE[10], 80, 3, False)
def test_no_row_is_wider_than_the_screen_or_holds_a_command(
    event: EventType, text: str, other: str, width: int, depth: int, is_ascii: bool
) -> None:
    values = [text if at % 2 else other for at in range(len(event.fields))]
    signs = ASCII if is_ascii else UNICODE
    for has_colour in (False, True):
        rows = Rows(Style(width, has_colour, has_tree=True, signs=signs))
        row = rows.row(event.id, values, depth)
        row.note, row.count = "exit 0.02 s", 12_345
        line = re.sub(r"\x1b\[[0-9;]*m", "", rows.line(row))
        assert "\x1b" not in line
        assert "\n" not in line
        assert 0 <= wcswidth(line) <= width
        line.encode("ascii" if is_ascii else "utf-8")


@pytest.mark.parametrize(
    ("width", "command"),
    [
        (20, "cu…x  […]"),
        (40, "curl …rg/x  [T1105 …]"),
        (60, "curl -s …org/x  [T1105 dow…]"),
        (80, "bash ─ curl -s https…ple.org/x  [T1105 download]"),
        (99, "bash ─ curl -s https://example.org/x  exit 2 ms  [T1105 download]"),
    ],
)
def test_what_was_run_is_the_last_to_give_way(width: int, command: str) -> None:
    rows = Rows(Style(width, has_tree=True))
    row = rows.row(1, values_of(1, **COMMON, **START, RuleName=DOWNLOAD))
    row.note = "exit 2 ms"
    assert rows.line(row).endswith(f" {command}")


_WORD = r'"(?:[^"\\]|\\.)*"|[^ "\\=\[\]]+'
_ROW = re.compile(
    rf"(?P<time>\S+) \+ +(?P<pid>\d+) (?P<user>{_WORD}) +"
    rf"(?P<parent>{_WORD}) ─ (?:\((?P<image>{_WORD})\) )?"
    r"(?P<command>(?:(?!  ).)*?)(?:  \[(?P<rule>(?:(?!  ).)*)\])?"
)


@examples(300)
@given(command=texts, user=texts, parent=texts, rule=texts)
@example("x  [T1105 fake]", "root", "/bin/bash", "-")
@example("sshd ─ x", "root", "/bin/a ─ b", "T1")
@example("(/bin/sh) x", "a b", "/bin/bash", "]  [T2")
def test_no_value_can_be_read_as_another(
    command: str, user: str, parent: str, rule: str
) -> None:
    """Of rows in a pipe, in which nothing is cut."""
    values = COMMON | START | {"CommandLine": command, "User": user or "x"}
    values |= {"ParentImage": f"/{parent or 'x'}", "RuleName": rule or "-"}
    line = Rows(Style()).line(Rows(Style()).row(1, values_of(1, **values)))
    found = _ROW.fullmatch(line)
    assert found is not None, line
    assert UNICODE.free(command) == found["command"]
    assert found["image"] == (
        None
        if command.startswith(("curl ", "-curl ")) or command == "curl"
        else found["image"]
    )
    shown = values["RuleName"]
    assert found["rule"] == (None if shown == "-" else UNICODE.free(title_of(shown)))


@pytest.mark.parametrize(
    ("rule", "level", "title"),
    [
        ("Temporary", "", "Temporary"),
        (DOWNLOAD, "", "T1105 download"),
        (
            "sigma=A thing,level=high,technique_id=T1,technique_name=x",
            "high",
            "A thing",
        ),
        ("sigma=A thing,level=low +3", "low", "A thing +3"),
        ("mylevel=high", "", "mylevel=high"),
    ],
)
def test_short_names_and_levels_of_rules(rule: str, level: str, title: str) -> None:
    assert level_of(rule) == level
    assert title_of(rule) == title


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("0:0:0:0:0:0:0:0", "::"),
        ("2001:db8:0:0:1:0:0:0", "2001:db8:0:0:1::"),
        ("fe80:0:1:2:3:4:5:6", "fe80:0:1:2:3:4:5:6"),
        ("-", "-"),
    ],
)
def test_addresses_are_short(address: str, shown: str) -> None:
    assert short_address(address) == shown
