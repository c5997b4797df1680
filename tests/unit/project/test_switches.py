# SPDX-License-Identifier: MIT
"""Each switch that the command line takes: in usage, completion and manual, or why not.

The lists come from the tables that the parser itself reads.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sysmonlx.cli.usage import usage
from sysmonlx.config import command_line
from sysmonlx.schema import completion

MANUAL = Path(__file__).parents[3] / "man/sysmonlx.8"
#: What the parser takes, from its own tables: "-i", ..., "-help", "--version".
TAKEN = sorted(
    {
        *(f"-{each.switch}" for each in command_line._TABLE),
        *command_line._HELP_WORDS,
        command_line._VERSION_WORD,
        "-?",
    }
)
#: Not worth offering: other words for -?, and what does nothing or nothing for people.
NOT_OFFERED = {
    **dict.fromkeys(("-help", "--help"), "another word for -?"),
    **dict.fromkeys(("-a", "-d", "-r", "-z", "-dns"), "refused"),
    **dict.fromkeys(("-e", "-f", "-g", "-j", "-k", "-p", "-m"), "without effect"),
    "-service": "of the service manager",
    **dict.fromkeys(("-x", "-y"), "for developers of rules"),
}
#: Of these the manual alone speaks; -y is useful enough for the usage.
NOT_IN_USAGE = {*NOT_OFFERED} - {"-y"}


def switches_of_usage() -> set[str]:
    text = usage(width=200)
    forms = re.findall(r"^[A-Z][^:\n]*: +sysmonlx (.*)$", text, re.MULTILINE)
    words = {word.strip("[]") for each in forms for word in each.split()}
    return {*re.findall(r"^  (-\S+)", text, re.MULTILINE)} | {
        each for each in words if each.startswith("-")
    }


@pytest.mark.parametrize("switch", TAKEN)
def test_switch_is_offered_or_there_is_a_reason(switch: str) -> None:
    in_bash = completion.bash().partition("switches='")[2].partition("'")[0].split()
    in_zsh = re.findall(r"'(?:\(.*?\))?(-[^\[]+)\[", completion.zsh())
    if switch == "--":  # a word behind -c
        assert switch in completion.VALUES["Configuration"]
        return
    is_offered = switch not in NOT_OFFERED
    assert (switch in in_bash, switch in in_zsh) == (is_offered, is_offered)


@pytest.mark.parametrize("switch", TAKEN)
def test_switch_stands_in_the_usage_or_there_is_a_reason(switch: str) -> None:
    assert (switch in switches_of_usage()) == (switch not in NOT_IN_USAGE)


@pytest.mark.parametrize("switch", TAKEN)
def test_switch_has_an_entry_in_the_manual(switch: str) -> None:
    name = {"--": r"\\&-", "-?": r"\\&\?"}.get(switch, re.escape(switch[1:]))
    text = MANUAL.read_text("utf-8")
    options = text.partition(".Ss Options")[2].partition(".Sh ENVIRONMENT")[0]
    found = re.search(rf"^\.It .*?Fl {name}( |$)|^\.Fl {name} ,$", options, re.M)
    assert found, switch


def test_nothing_else_is_offered() -> None:
    assert {*NOT_OFFERED} <= {*TAKEN}
    assert switches_of_usage() <= {*TAKEN}
