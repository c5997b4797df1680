# SPDX-License-Identifier: MIT
from __future__ import annotations

import re
from pathlib import Path

import pytest

from sysmonlx.cli.usage import config_help, usage
from sysmonlx.config.reader import read_policy
from sysmonlx.schema.conditions import CONDITIONS
from sysmonlx.schema.events import EVENTS
from sysmonlx.schema.options import OPTIONS, SETTINGS

MANUAL = Path(__file__).parents[3] / "man/sysmonlx.8"


def test_usage_names_the_program_in_column_26() -> None:
    lines = usage("prog").splitlines()
    assert lines[0] == "Usage:"
    assert lines[1] == "Install:                 prog -i [<configfile>]"
    assert all(line[25:29] == "prog" for line in lines[1:9])


@pytest.mark.parametrize(
    "switch", ["-c", "-i", "-s", "-u", "-t", "-test", "-stats", "-lax", "-btf"]
)
def test_usage_explains_each_switch_from_column_8(switch: str) -> None:
    lines = usage().splitlines()
    index = next(
        number for number, line in enumerate(lines) if line.split()[:1] == [switch]
    )
    line = lines[index]
    assert line.startswith(f"  {switch}")
    text = lines[index + 1] if line.strip() == switch else line
    assert text[7] != " "
    assert text[6] == " "


def test_usage_and_manual_have_the_same_exit_statuses() -> None:
    section = MANUAL.read_text().partition(".Sh EXIT STATUS\n")[2].partition(".Ss")[0]
    wanted = re.findall(r"^\.It (\d+)$", section, re.MULTILINE)
    assert len(wanted) > 1
    sentence = usage(width=1000).partition("The exit status is ")[2].partition("\n")[0]
    assert re.findall(r"\b\d+\b", sentence) == wanted


def test_configuration_help_starts_with_the_schema_version() -> None:
    assert config_help().startswith(
        "Configuration usage (current schema is version: 4.90):\n"
    )


def test_configuration_help_has_a_line_for_each_filterable_event() -> None:
    lines = config_help().splitlines()
    start = lines.index("Id     Tag                  Event") + 1
    expected = [f"{e.id:<6} {e.tag:<20} {e.template}" for e in EVENTS if e.tag]
    assert lines[start : start + len(expected)] == expected
    assert "1      ProcessCreate        Process Create" in lines


def test_configuration_help_has_every_condition_option_and_setting() -> None:
    text = config_help()
    for name in CONDITIONS:
        assert f"\n  {name} " in text
    for option in OPTIONS:
        is_shown = not option.command_line_only and option.target == "all"
        assert (f"\n  {option.name} " in text) == is_shown
    for setting in SETTINGS:
        assert f"\n  {setting.element} " in text


def test_configuration_help_tells_the_default_of_each_setting() -> None:
    text = " ".join(config_help().split())
    for setting in SETTINGS:
        assert f"{setting.meaning} Default: {setting.default_text}. " in text
    assert "(7950 where it does not say), 65535 for other sinks. " in text


def test_sample_configuration_is_valid() -> None:
    text = config_help()
    start, end = text.index("  <Sysmon"), text.index("</Sysmon>")
    policy, warnings = read_policy(f"{text[start:end]}</Sysmon>".encode(), "sample")
    assert (len(policy.ruleset.elements), warnings) == (2, ())


@pytest.mark.parametrize("width", [60, 80, 132])
def test_text_is_wrapped_at_the_width_of_the_terminal(width: int) -> None:
    prose = config_help(width).partition("100    eBPFEvent")[2]
    wrapped = [line for line in prose.splitlines() if "<" not in line]
    assert max(map(len, wrapped)) < width
