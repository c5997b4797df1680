# SPDX-License-Identifier: MIT
"""The words that choose events, in the live view and for sysmonlx-logview."""

from __future__ import annotations

import re

import pytest
from support.logview import values_of

from sysmonlx.viewer.kinship import LIMIT, Kinship
from sysmonlx.viewer.order import LiveEvent
from sysmonlx.viewer.words import WordError, Words, of_line


def event(event_id: int, **values: str) -> LiveEvent:
    return LiveEvent(event_id, values_of(event_id, **values))


EVENTS = [
    event(1, Image="/usr/bin/curl", CommandLine="curl -s x", ProcessId="1", User="al"),
    event(11, Image="/opt/curling", TargetFilename="/etc/cron.d/x", ProcessId="2"),
    event(3, Image="/bin/sh", DestinationIp="10.0.0.9", DestinationPort="443"),
    event(10, SourceImage="/usr/bin/gdb", TargetProcessId="1", SourceUser="AL"),
    event(5, Image="/bin/x", RuleName="sigma=Odd end,level=high"),
    event(5, Image="/bin/y", RuleName="T1059 shell"),
    event(255, ID="LostEvents", Description="1 lost"),
]


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("", [0, 1, 2, 3, 4, 5, 6]),
        ("curl", [0, 1]),
        ("CURL", [0, 1]),
        ('"curl -s"', [0]),
        ("cu?l*g", [1]),
        ("image:curl", [0]),
        ("image:/usr/bin/curl,sh", [0, 2]),
        ("image:cur*", [0, 1]),
        ("Image:/bin/*", [2, 4, 5]),
        ("pid:1", [0, 3]),
        ("user:al", [0, 3]),
        ("cmd:*-s*", [0]),
        ("path:/etc/*", [1]),
        ("ip:10.0.0.*", [2]),
        ("port:443,80", [2]),
        ("destinationport:443", [2]),
        ("rule:", [4, 5]),
        ("rule:t1059", [5]),
        ("rule:odd*high", [4]),
        ("level:medium", [4]),
        ("level:critical", []),
        ("event:1,FileCreate", [0, 1]),
        ("event:processterminate", [4, 5]),
        ("event:error", [6]),
        ("no:curl", [2, 3, 4, 5, 6]),
        ("-curl -event:5", [2, 3, 6]),
        ("-", [0, 1, 2, 3, 4, 5, 6]),
        ("Image=/bin/sh", [2]),
        ("curl User=al", [0]),
        ("10.0.0.9:443", []),
        ("http://x", []),
        ("[a", []),
        ('"open', []),
    ],
)
def test_words_choose(line: str, kept: list[int]) -> None:
    takes = Words(of_line(line)).takes
    assert [at for at, each in enumerate(EVENTS) if takes(each)] == kept


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("imge:x", "no event has a field imge, did you mean image:?"),
        ("levl:high", "did you mean level:?"),
        ("no:usr:x", "did you mean user:?"),
        ("level:loud", "level:loud: one of low, medium, high, critical"),
        ("event:99", "event:99: neither an event's id nor its name"),
        ("tree:", "tree:: give a pid or a GUID"),
        ("tree:curl", "tree:curl: give a pid or a GUID"),
        ("Imge=x", "did you mean Image?"),
    ],
)
def test_wrong_words_are_refused_with_what_helps(word: str, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)) as caught:
        Words([word])
    assert "\n" not in str(caught.value)
    assert issubclass(WordError, ValueError)


def start(guid: str, parent: str, pid: str) -> LiveEvent:
    return event(
        1,
        ProcessGuid=guid,
        ProcessId=pid,
        ParentProcessGuid=parent,
        ParentProcessId="7",
    )


TREE = [
    start("{a}", "{init}", "10"),
    start("{b}", "{a}", "20"),
    start("{other}", "{init}", "30"),
    start("{c}", "{b}", "40"),
    event(11, ProcessGuid="{c}", ProcessId="40"),
    event(11, ProcessGuid="{other}", ProcessId="30"),
    event(5, ProcessGuid="{b}", ProcessId="20"),
    event(10, SourceProcessGUID="{c}"),
    event(255, ID="x"),
]


@pytest.mark.parametrize("word", ["tree:20", "tree:b", "tree:{B}", "tree:self"])
def test_tree_is_a_process_and_what_came_of_it(word: str) -> None:
    words = Words([word], None, "20")
    assert [at for at, each in enumerate(TREE) if words.takes(each)] == [1, 3, 4, 6, 7]
    assert words.takes(TREE[0])  # an ancestor's start, for who looks back
    assert not words.takes(TREE[2])


def test_tree_of_a_process_from_before_is_known_by_its_children() -> None:
    words = Words(["tree:7"])
    assert [words.takes(each) for each in TREE[:3]] == [True, True, True]


def test_deed_between_fork_and_start_belongs_to_the_tree() -> None:
    kin = Kinship()
    for each in (*TREE[:2], start("{d}", "{b}", "50")):
        kin.note(each.values)
    words = Words(["tree:20"], kin)
    assert words.takes(event(11, ProcessGuid="{fork}", ProcessId="50"))
    assert not words.takes(event(11, ProcessGuid="{fork}", ProcessId="51"))


def test_circles_end_and_memory_is_bounded() -> None:
    kin = Kinship()
    kin.note(start("{a}", "{b}", "1").values)
    kin.note(start("{b}", "{a}", "2").values)
    assert len([*kin.line("{a}")]) <= 512
    for number in range(LIMIT + 10):
        kin.note(start(f"{{{number}}}", "{a}", "1").values)
    assert len(kin._known) <= LIMIT
