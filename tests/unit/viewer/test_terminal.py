# SPDX-License-Identifier: MIT
from __future__ import annotations

import io
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.strategies import examples

from sysmonlx.schema.events import EVENTS
from sysmonlx.viewer.terminal import TerminalView, safe, word

CREATE = {
    "RuleName": "-",
    "UtcTime": "2026-01-05 10:00:05.201",
    "ProcessId": "4242",
    "Image": "/usr/bin/ls",
    "CommandLine": "ls -l",
    "CurrentDirectory": "/home/alice",
    "User": "alice",
    "ParentProcessId": "4100",
    "ParentImage": "/usr/bin/bash",
}
FIELDS = {event.id: [field.name for field in event.fields] for event in EVENTS}


def shown(event_id: int, values: dict[str, str], colour: bool = False) -> str:
    stream = io.StringIO()
    texts = [values.get(name, "-") for name in FIELDS[event_id]]
    TerminalView(stream, colour).show(event_id, texts)
    return stream.getvalue()


def test_event_is_one_line_with_what_matters() -> None:
    assert shown(1, CREATE) == (
        '10:00:05.201 ProcessCreate         4242 /usr/bin/ls CommandLine="ls -l" '
        "User=alice CurrentDirectory=/home/alice ParentImage=/usr/bin/bash "
        "ParentProcessId=4100\n"
    )


def test_rule_that_matched_is_shown() -> None:
    assert shown(1, CREATE | {"RuleName": "T1059"}).endswith(" [T1059]\n")


def test_connection_shows_both_ends() -> None:
    values = {
        "UtcTime": "2026-01-05 10:00:05.201",
        "ProcessId": "7",
        "Image": "/usr/bin/curl",
        "SourceIp": "192.0.2.1",
        "SourcePort": "5000",
        "DestinationIp": "198.51.100.7",
        "DestinationPort": "443",
    }
    line = shown(3, values)
    assert "192.0.2.1" in line
    assert "198.51.100.7" in line
    assert "443" in line


@pytest.mark.parametrize("event_id", FIELDS)
def test_every_event_is_one_line_whatever_its_values(event_id: int) -> None:
    hostile = dict.fromkeys(FIELDS[event_id], "\x1b]0;\n\u202e\udcff")
    line = shown(event_id, hostile)
    assert line.count("\n") == 1
    assert line[:-1].isprintable()


def test_colour_only_where_asked() -> None:
    assert "\x1b[" not in shown(1, CREATE)
    coloured = shown(1, CREATE, colour=True)
    assert "\x1b[32mProcessCreate" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == shown(1, CREATE)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("plain é 日本語 😀", "plain é 日本語 😀"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("\x9b31m", r"\xc2\x9b31m"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\udcff\x7f", r"\xff\x7f"),
        ("exe\u202egpj.sh", r"exe\u202egpj.sh"),
        ("\u2066x\u2069\u200b\ufeff", r"\u2066x\u2069\u200b\ufeff"),
        ("\U000e0041", r"\U000e0041"),
        ("\u2028", r"\u2028"),
    ],
)
def test_hostile_text_is_spelt_out(text: str, printed: str) -> None:
    assert safe(text) == printed


def test_long_value_is_cut() -> None:
    line = shown(1, CREATE | {"CommandLine": "x" * 5000 + " EVIL"})
    assert len(line) < 700
    assert 'CommandLine="xxx' in line
    assert 'xxx"..."xxx' in line
    assert 'xxx EVIL" User=' in line


_WORD = r'"(?:[^"\\]|\\.)*"|[^ "\\=\[\]]+'
_LINE = re.compile(
    rf"(?P<time>\S+) (?P<name>\S+) +(?P<pid>[0-9]+) (?P<image>{_WORD})"
    rf"(?P<fields>(?: [A-Za-z]+=(?:{_WORD}))*)(?: \[(?P<rule>{_WORD})\])?\n"
)
_CONTROLS = {"n": b"\n", "t": b"\t", "r": b"\r"}


def unquoted(word: str) -> bytes:
    """Return the value that a word stands for, as sysmonlx(8) says."""
    if not word.startswith('"'):
        return word.encode()

    def one(match: re.Match[str]) -> str:
        what = match[1]
        if what[0] == "x":
            data = bytes.fromhex(what[1:])
        elif what[0] in "uU":
            data = chr(int(what[1:], 16)).encode()
        else:
            data = _CONTROLS.get(what, what.encode())
        return data.decode("latin-1")

    escape = r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[ntr\\\"])"
    text = word[1:-1].encode().decode("latin-1")
    return re.sub(escape, one, text).encode("latin-1")


values = st.binary(max_size=60).map(
    lambda data: data.decode("utf-8", "surrogateescape")
)
hostile = st.one_of(
    values,
    st.text("ab \"'\\=[]x1nu\n\u202e\u201d\u2800\uff1d\xa0é日", max_size=20),
    st.sampled_from(["x User=nobody ParentImage=/sbin/init", 'x" User="y', "a] [b"]),
)


@examples(300)
@given(line=hostile, user=hostile, folder=hostile, image=hostile, rule=hostile)
@example("x User=nobody ParentImage=/sbin/init", "root", "/", "/bin/true", "-")
def test_no_value_can_be_read_as_another(
    line: str, user: str, folder: str, image: str, rule: str
) -> None:
    chosen = {"CommandLine": line, "User": user, "CurrentDirectory": folder}
    printed = shown(1, CREATE | chosen | {"Image": image, "RuleName": rule})
    found = _LINE.fullmatch(printed)
    assert found is not None
    fields = re.findall(rf" ([A-Za-z]+)=({_WORD})", found["fields"])
    got = {name: unquoted(text) for name, text in fields}
    expected = chosen | {"ParentImage": "/usr/bin/bash", "ParentProcessId": "4100"}
    assert got == {
        name: text.encode("utf-8", "surrogateescape")
        for name, text in expected.items()
        if text != "-"
    }
    assert unquoted(found["image"]) == image.encode("utf-8", "surrogateescape")
    if rule == "-":
        assert found["rule"] is None
    else:
        assert unquoted(found["rule"]) == rule.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("/usr/bin/ls", "/usr/bin/ls"),
        ("/tmp/é日本語", "/tmp/é日本語"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ("[T1]", '"[T1]"'),
        ('a"b', r'"a\"b"'),
        (r"a\nb", r'"a\\nb"'),
        ("a\nb", r'"a\nb"'),
        (r"\x1b", r'"\\x1b"'),
        ("\x1b", r'"\x1b"'),
        ("x\u2800y\uff1dz", '"x\u2800y\uff1dz"'),
        ("x\u201d y", r'"x\u201d y"'),
        ("x\u3164y", r'"x\u3164y"'),
    ],
)
def test_words_are_plain_or_quoted(text: str, printed: str) -> None:
    assert word(text) == printed


def test_stream_that_cannot_print_a_character_spells_it() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    values = [(CREATE | {"Image": "/tmp/é"}).get(name, "-") for name in FIELDS[1]]
    TerminalView(stream, colour=False).show(1, values)
    assert rb"/tmp/\xe9" in raw.getvalue()


def test_debug_form_names_the_event_and_every_field() -> None:
    stream = io.StringIO()
    values = ["-", CREATE["UtcTime"], "{g}", "4242", "/usr/\x1bls", "alice"]
    TerminalView(stream, colour=False).show_all(5, values)
    assert stream.getvalue() == (
        "Event SYSMONEVENT_PROCESS_TERMINATE\n"
        "\tRuleName: -\n"
        "\tUtcTime: 2026-01-05 10:00:05.201\n"
        "\tProcessGuid: {g}\n"
        "\tProcessId: 4242\n"
        "\tImage: /usr/\\x1bls\n"
        "\tUser: alice\n"
    )


def test_summary_counts_by_type_and_owns_up_to_losses() -> None:
    stream = io.StringIO()
    view = TerminalView(stream, colour=False)
    view.summary({5: 2, 1: 12}, 3, 0.25, 10.0)
    assert stream.getvalue() == (
        "\n14 events in 10.0 s\n"
        "        12  ProcessCreate\n"
        "         2  ProcessTerminate\n"
        "3 lost\n"
        "CPU used: 0.25 s (2.5 % of one CPU)\n"
    )


def test_summary_of_nothing() -> None:
    stream = io.StringIO()
    TerminalView(stream, colour=False).summary({}, 0, 0.0, 0.0)
    assert stream.getvalue() == (
        "\n0 events in 0.0 s\n0 lost\nCPU used: 0.00 s (0.0 % of one CPU)\n"
    )
