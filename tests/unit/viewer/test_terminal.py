# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from sysmonlx.viewer.terminal import all_fields, safe, summary, word


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


def test_long_word_keeps_head_and_tail() -> None:
    text = word("x" * 5000 + " EVIL")
    assert text == f'"{"x" * 200}"..."{"x" * 195} EVIL"'


def test_debug_form_names_the_event_and_every_field() -> None:
    values = ["-", "2026-01-05 10:00:05.201", "{g}", "4242", "/usr/\x1bls", "alice"]
    assert all_fields(5, values) == (
        "Event SYSMONEVENT_PROCESS_TERMINATE\n"
        "\tRuleName: -\n"
        "\tUtcTime: 2026-01-05 10:00:05.201\n"
        "\tProcessGuid: {g}\n"
        "\tProcessId: 4242\n"
        "\tImage: /usr/\\x1bls\n"
        "\tUser: alice"
    )


def test_summary_counts_by_type_and_owns_up_to_losses() -> None:
    assert summary({5: 2, 1: 12}, 3, 0.25, 10.0) == (
        "\n14 events in 10.0 s\n"
        "        12  ProcessCreate\n"
        "         2  ProcessTerminate\n"
        "3 lost\n"
        "CPU used: 0.25 s (2.5 % of one CPU)"
    )


def test_summary_of_nothing() -> None:
    assert summary({}, 0, 0.0, 0.0) == (
        "\n0 events in 0.0 s\n0 lost\nCPU used: 0.00 s (0.0 % of one CPU)"
    )
