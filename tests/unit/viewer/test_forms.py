# SPDX-License-Identifier: MIT
"""What `sysmonlx-logview` reads, which events it takes, in which forms it shows."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree
from support.logview import RECORDED, line, logview, syslog, values_of

from sysmonlx import __version__
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.viewer.forms import csv_cell, form_of, json_line
from sysmonlx.viewer.moments import moment, written_moment
from sysmonlx.viewer.options import OptionError, parse
from sysmonlx.viewer.read import EventLine, read_events
from sysmonlx.viewer.rows import Style
from sysmonlx.viewer.select import Selection

BELL = "sysmonLogView"
LINES = [
    each
    for each in RECORDED.read_bytes().splitlines(keepends=True)
    if b"<Event>" in each
]
EVENTS = [each for each in read_events(LINES) if isinstance(each, EventLine)]


def as_sysmon(line: bytes) -> str:
    """Return what sysmonLogView prints, by way of an XML library."""
    text = line[line.index(b"<Event>") :].decode("utf-8", "backslashreplace")
    root = etree.fromstring(text)
    number = int(root.findtext("System/EventID") or 0)
    rows = [f"Event {EVENT_BY_ID[number].name}"]
    for data in root.iterfind("EventData/Data"):
        rows.append(f"\t{data.get('Name')}: {data.text or '--NULL--'}")
    return "\n".join(rows) + "\n"


# --- as sysmonLogView


def test_sysmons_form_is_a_title_and_a_line_a_field() -> None:
    found = logview(name=BELL, data=b"".join(LINES))
    assert found.status == 0
    assert found.out == "".join(map(as_sysmon, LINES))
    assert logview("--sysmonLogView", data=b"".join(LINES)) == found


def test_own_form_sysmon_shows_the_same() -> None:
    found = logview("--form", "sysmon", str(RECORDED))
    assert found.out == "".join(map(as_sysmon, LINES))


@pytest.mark.parametrize(
    ("data", "out", "err"),
    [
        (b"Jan 5 h sysmon: <Event><System></EventData>\n", "", "XML parse failed\n"),
        (line(5).encode(), "", ""),
        (b"<Event> sysmon: " + line(5).encode(), None, ""),
        (syslog("<Event><System></System></Event>"), "", ""),
        (syslog(line(5, 0)), "", ""),
        (syslog(line(255)).replace(b"- ", b""), "Event UNKNOWN_EVENT", ""),
        (syslog(line(5)).replace(b"ID>5<", b"ID>77<"), "Event UNKNOWN_EVENT", ""),
        (syslog(line(5)).replace(b'Image">-', b'Image">'), "--NULL--", ""),
    ],
)
def test_lines_that_sysmonlogview_reads(data: bytes, out: str | None, err: str) -> None:
    found = logview(name=BELL, data=data)
    assert (found.status, found.err) == (0, err)
    assert (out or "Event") in found.out if out != "" else found.out == ""


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["-e", "11"], [11]),
        (["-e", "1,0xb"], [1, 11]),
        (["-e", "1", "-e", "013"], [1, 11]),
        (["-r", "2"], [1, 5, 11]),
        (["-r", ",2"], [3, 11]),
        (["-r", "2,3", "-r", ",2"], [11]),
        (["-t", "2026-01-05 10:00:02,2026-01-05 10:00:03"], [1, 5]),
        (["-t", ",2026-01-05 10:00:01.001"], [3, 11]),
        (["-t", "nonsense,"], [3, 11, 1, 5]),
        (["-f", "Image=/a,/b"], [3, 11]),
        (["-f", "Image=/a", "-f", "Image=/b", "-f", "User=root"], [3]),
        (["-f", "TargetFilename=/none"], [3, 1, 5]),
    ],
)
def test_selection_as_sysmonlogview_has_it(
    arguments: list[str], kept: list[int]
) -> None:
    data = syslog(
        line(3, 1, s=0, Image="/a", User="root"),
        line(11, 2, s=1.001, Image="/b", TargetFilename="/t"),
        line(1, 3, s=2, Image="/c"),
        line(5, 4, s=3, Image="/A"),
    )
    found = logview(*arguments, name=BELL, data=data)
    titles = re.findall(r"Event (\w+)", found.out)
    assert sorted(titles) == sorted(EVENT_BY_ID[each].name for each in kept)


def test_fields_by_event_and_empty_lines() -> None:
    data = syslog(line(5, 1, Image="/a", User="u"), line(11, 2, Image="/b"))
    found = logview("-E", "5=Image,User", "-E", "11=Image", "-X", name=BELL, data=data)
    assert found.out == (
        "Event SYSMONEVENT_PROCESS_TERMINATE\n\tImage: /a\n\tUser: u\n\n"
        "Event SYSMONEVENT_FILE_CREATE\n\tImage: /b\n\n"
    )


@pytest.mark.parametrize("option", ["-h", "-?", "-Z"])
def test_sysmonlogviews_help_is_no_error(option: str) -> None:
    found = logview(option, name=BELL)
    assert found.status == 0
    assert found.out.startswith("Usage: ")


def test_version_is_one_line() -> None:
    assert logview("--version").out == f"sysmonlx-logview {__version__}\n"


def test_settings_are_shown() -> None:
    found = logview("-e", "3,1", "-r", "5", "-f", "User=b,a", "-T")
    assert found.status == 0
    assert "Event ids:    1, 3\n" in found.out
    assert "Record ids:   5 to the end\n" in found.out
    assert "Values:       User=a,b\n" in found.out


# --- where events come from


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
}


@pytest.mark.parametrize("form", PACKED)
def test_files_are_unpacked_whatever_their_name_is(form: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(PACKED[form](RECORDED.read_bytes()))
    found = logview("--form", "json", str(path))
    assert found.status == 0
    assert len(found.out.splitlines()) == len(EVENTS)
    assert logview("--form", "json", data=path.read_bytes()) == found


@pytest.mark.parametrize("form", ["gz", "xz", "bz2"])
def test_packed_file_that_is_cut_short_gives_what_it_has(
    form: str, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    path.write_bytes(PACKED[form](RECORDED.read_bytes() * 3)[:-20])
    found = logview("-e", "999", str(path))
    assert found.status == 1
    assert found.err.count("\n") == 1
    assert "cut short" in found.err or "damaged" in found.err


def test_directory_is_read_from_the_oldest_file_on(tmp_path: Path) -> None:
    import os

    for age, name in enumerate(("a", "c", "b")):
        (tmp_path / name).write_bytes(syslog(line(5, age, Image=f"/{name}")))
        os.utime(tmp_path / name, (100 - age, 100 - age))
    (tmp_path / "folder").mkdir()
    found = logview("--form", "csv", "--fields", "Image", str(tmp_path))
    assert found.out.split() == ["Image", "/b", "/c", "/a"]


def test_journals_json_is_read() -> None:
    entry = {"MESSAGE": line(5, 1, Image="/a"), "SYSLOG_IDENTIFIER": "sysmon"}
    raw = {"MESSAGE": [*line(5, 2, Image="/\udcff").encode("utf-8", "surrogateescape")]}
    data = "".join(json.dumps(each) + "\n" for each in (entry, raw)).encode()
    found = logview("--form", "csv", "--fields", "EventRecordID,Image", data=data)
    assert found.out.split() == ["EventRecordID,Image", "1,/a", "2,/\\xff"]


@pytest.mark.parametrize("form", ["xml", "json"])
def test_line_knows_number_time_and_machine(form: str) -> None:
    [event] = read_events([line(5, 7, form=form, s=1.5).encode()])
    assert isinstance(event, EventLine)
    assert event.system.record_id == 7
    assert event.system.computer == "host1"
    assert event.system.time == "2026-01-05T10:00:01.500000000Z"


def test_what_cannot_be_read_is_told_a_line_each() -> None:
    data = syslog(line(5, 1)) + b"x sysmon: <Event><System><EventID>5\nnothing\n"
    found = logview("--form", "json", "-", "/nonexistent", data=data)
    assert found.status == 1
    assert len(found.out.splitlines()) == 1
    assert re.fullmatch(
        "sysmonlx-logview: -:2: .*cut short.*\n"
        "sysmonlx-logview: /nonexistent: No such file or directory\n",
        found.err,
    )


def test_word_in_the_place_of_a_file_is_told_how_it_is_meant() -> None:
    found = logview("--tree", "curl", data=b"")
    assert found.status == 1
    assert found.err == (
        "sysmonlx-logview: curl: No such file or directory; to look for this text:"
        " -w curl\n"
    )


def test_many_unreadable_lines_are_counted() -> None:
    found = logview(data=b"<Event><System></Event>\n" * 1000)
    assert found.status == 1
    assert len(found.err.splitlines()) == 101
    assert "900 more" in found.err


def test_fields_that_were_added_are_kept_shown_and_asked_for() -> None:
    added = '<Data Name="LoginUser">mallory</Data></EventData>'
    data = syslog(
        line(1, Image="/a").replace("</EventData>", added), line(1, Image="/b")
    )
    csv = logview(
        "LoginUser=mallory", "--form", "csv", "--fields", "Image,LoginUser", data=data
    )
    assert csv.out.split() == ["Image,LoginUser", "/a,mallory"]
    assert "/a" in logview("-w", "mallo", data=data).out
    json = logview("--form", "json", "Image=/a", data=data).out
    assert '"LoginUser":"mallory"' in json
    assert logview("--form", "json", data=json.encode()).out == json
    assert "\tLoginUser: mallory\n" in logview("--form", "sysmon", data=data).out


def test_log_without_events_is_told() -> None:
    found = logview(data=b"nothing of ours\n")
    assert (found.status, found.out) == (0, "")
    text = "there is no event in what was read; the form ecs is not read"
    assert found.err == f"sysmonlx-logview: {text}\n"
    assert logview(data=b"").err == ""
    # Of a file that somebody names, it is told also where it is empty.
    assert logview("/dev/null").err == found.err


@pytest.mark.parametrize("status", [0, 1])
def test_journal_is_asked_by_its_program(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = json.dumps({"MESSAGE": line(5, 1, Image="/a")})
    (tmp_path / "entry").write_text(entry + "\n")
    program = tmp_path / "journalctl"
    program.write_text(
        f'#!/bin/sh\necho "$@" >{tmp_path}/asked\n'
        f"/bin/cat {tmp_path}/entry\nexit {status}\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = logview("--journal", "--form", "csv", "--fields", "image")
    assert found.out.split() == ["Image", "/a"]
    assert found.status == status
    assert "--all" in (tmp_path / "asked").read_text()
    program.unlink()
    assert logview("--journal").err.count("\n") == 1


def test_random_bytes_are_no_traceback() -> None:
    import random

    data = random.Random(15).randbytes(1_000_000)
    found = logview(data=data)
    assert "Traceback" not in found.err
    assert found.status in (0, 1)


def test_reader_that_goes_away_is_no_error() -> None:
    import subprocess
    import sys

    command = f"{sys.executable} -m sysmonlx.viewer {RECORDED} {RECORDED} | head -1"
    found = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        check=True,
        cwd=RECORDED.parents[2],
    )
    assert found.stderr == b""


# --- which events


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("Image=/usr/bin/CURL", [0]),
        ("image = /usr/bin/curl", []),
        ("Image!=/usr/bin/curl", [1, 2]),
        ("Image~curl", [0, 1]),
        ("Image end with /curl", [0]),
        ("Image begin with /opt", [1]),
        ("Image not end with /curl", [1, 2]),
        ("Image contains any bash;zsh", [2]),
        ("Image is not /bin/bash", [0, 1]),
        ("Image image curl", [0]),
        ("EventID=11", [2]),
        ("Event=filecreate", [2]),
        ("Computer=HOST1", [0, 1, 2]),
        ("TargetFilename~/", [2]),
        ("TargetFilename!=/x", [2]),
        ("cUrL", [0, 1]),
    ],
)
def test_words_choose_events(word: str, kept: list[int]) -> None:
    lines = [
        line(5, 1, Image="/usr/bin/curl"),
        line(5, 2, Image="/opt/curling"),
        line(11, 3, Image="/bin/bash", TargetFilename="/t"),
    ]
    events = [each for each in read_events(each.encode() for each in lines)]
    takes = Selection(parse(["-w", word])).takes
    found = [
        at
        for at, event in enumerate(events)
        if isinstance(event, EventLine) and takes(event)
    ]
    assert found == kept


def test_words_that_name_a_field_need_no_option() -> None:
    options = parse(["Image=/a", "/log", "--form", "json", "User~x", "./Image=b", "-"])
    assert options.words == ["Image=/a", "User~x"]
    assert options.files == ["/log", "./Image=b", "-"]


NOW = datetime(2026, 1, 5, 10, 30, 15, 250_000, UTC)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("now", "2026-01-05 10:30:15.250"),
        ("today", "2026-01-05 00:00:00.000"),
        ("yesterday", "2026-01-04 00:00:00.000"),
        ("-2h", "2026-01-05 08:30:15.250"),
        ("-30m", "2026-01-05 10:00:15.250"),
        ("09:15", "2026-01-05 09:15:00.000"),
        ("2026-01-02", "2026-01-02 00:00:00.000"),
        ("2026-01-02T03:04:05.678Z", "2026-01-02 03:04:05.678"),
        ("soon", None),
    ],
)
def test_moments(text: str, found: str | None) -> None:
    assert moment(text, NOW) == found


def test_half_a_millisecond_part_is_what_sysmon_takes_it_for() -> None:
    assert written_moment("2026-01-02 03:04:05.5") == "2026-01-02 03:04:05.005"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-e", "NoEvent"], "-e NoEvent: neither"),
        (["-e", ""], "neither"),
        (["-r", "a"], "not MIN,MAX"),
        (["-t", "soon,"], "not a time"),
        (["--since", "soon"], "not a time"),
        (["-f", "User"], "not FIELD=VALUE"),
        (["-E", "Image"], "not ID=FIELD"),
        (["-f", "Imge=a"], "did you mean Image?"),
        (["-E", "1=Imge"], "did you mean Image?"),
        (["-w", "no:"], "no: needs a word: no:curl"),
        (["-w", "no:no:"], "no: needs a word"),
        (["-w", "pid:curl"], "pid:curl: give numbers, as pid:4242"),
        (["-w", "port:80,http"], "port:80,http: give numbers, as port:80,443"),
        (["-w", "Imge=a"], "did you mean Image?"),
        (["--form", "yaml"], "one of rows"),
        (["--fields", "Imge"], "did you mean Image?"),
        (["--tree", "--rules"], "in one run"),
        (["--limit", "0"], "above 0"),
        (["--nonsense"], "--nonsense not recognized"),
        (["--colour", "red"], "auto, always"),
        (["--width", "19"], "from 20 on"),
        (["-w", "imge:a"], "did you mean image:?"),
        (["-w", "level:loud"], "one of low"),
        (["-w", "event:none"], "neither an event"),
    ],
)
def test_wrong_command_lines_are_one_line(arguments: list[str], text: str) -> None:
    with pytest.raises(OptionError, match=re.escape(text)) as caught:
        parse(arguments)
    assert "\n" not in str(caught.value)
    assert logview(arguments[0], *arguments[1:]).status == 2


# --- forms

HOSTILE = [
    "\x1b]0;title\x07",
    "a\nEvent SYSMONEVENT_FAKE\r\tb",
    "\u202egpj.exe",
    "zero\u200bwidth",
    "\udcff\udcfe",
    '=HYPERLINK("http://x","y")',
    "@SUM(1)",
    " +1",
    "a|b`c`<img src=x onerror=alert(1)>",
    '"},"x":"',
    "\\x1b",
    "\U000e0041tag",
]


def hostile_event(text: str) -> EventLine:
    return EventLine(1, 11, values_of(11, Image=text, TargetFilename=text, User=text))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("form", ["rows", "sysmon", "json", "csv", "markdown"])
def test_hostile_values_are_tamed_in_every_form(form: str, text: str) -> None:
    _, text_of = form_of(parse(["--form", form]), Style())
    found = text_of(hostile_event(text))
    assert found.encode()
    rows = found.removesuffix("\r\n").removesuffix("\n").split("\n")
    rows = rows[len(rows) > 1 and form == "rows" :]  # behind a line for the day
    assert len(rows) == (9 if form == "sysmon" else 1)
    for row in rows:
        assert row.removeprefix("\t").isprintable(), ascii(row)
    assert "\U000e0041" not in found


@pytest.mark.parametrize("text", HOSTILE)
def test_json_lines_are_read_back_as_they_were(text: str) -> None:
    event = hostile_event(text)
    [again] = read_events([json_line(event).encode()])
    assert again == event
    json.loads(json_line(event))


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_is_a_row_of_closed_code_spans(text: str) -> None:
    _, text_of = form_of(parse(["--form", "markdown"]), Style())
    row = text_of(hostile_event(text))
    assert len(re.findall(r"(?<!\\)\|", row)) == 9
    assert row.count("`") == 16
    assert "<" not in row


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", " =1", "\uff1d1", "-x-"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert csv_cell(text) == "'" + text


def test_csv_cells_are_whole_and_unknown_ones_are_plain() -> None:
    options = parse(["--form", "csv", "--fields", "Image,User,PipeName"])
    head, text_of = form_of(options, Style())
    event = EventLine(1, 11, values_of(11, Image='a,"b"\n;=c'))
    rows = [*csv.reader(io.StringIO(head + text_of(event)))]
    assert rows == [["Image", "User", "PipeName"], ['a,"b"\\n;=c', "-", "-"]]


def test_rows_say_when_day_or_machine_change() -> None:
    data = syslog(line(5, 1), line(5, 2)) + syslog(line(5, 3)).replace(b"host1", b"h2")
    heads = re.findall("(?m)^──.*", logview(data=data).out)
    assert heads == ["── 2026-01-05 host1 ──", "── 2026-01-05 h2 ──"]


def test_rows_have_a_width_signs_and_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    data = syslog(line(11, 1, Image="/bin/é", TargetFilename=f"/{'x' * 90}é"))
    found = logview("--width", "60", "--ascii", data=data).out.splitlines()[1]
    assert found == ("10:00:00.000 w                  \\xe9 /xxxxxxxxxxx...xxxx\\xe9")
    monkeypatch.setenv("TZ", "XYZ-5:30")
    time.tzset()
    try:
        assert "\n15:30:00.000 w" in logview("--local", data=data).out
    finally:
        monkeypatch.undo()
        time.tzset()
