# SPDX-License-Identifier: MIT
"""Examples of README, docs and manuals: each configuration loads, each command is one.

`make test-examples` runs what needs no service; `make test-newcomer` runs the README.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.calls import Program
from support.examples import (
    ROOT,
    Example,
    commands,
    configurations,
    mentions,
    pipeline,
)
from support.logview import line

from sysmonlx.cli import watching
from sysmonlx.config.command_line import (
    _TABLE,
    Action,
    check_before_action,
    check_before_root,
    check_company,
    parse,
)
from sysmonlx.config.reader import read_policy
from sysmonlx.sigma_tool.main import _parser
from sysmonlx.viewer import options

#: Programs of others that pages name; what they do is not ours.
OTHERS = {
    *("apt", "bpftool", "cp", "docker", "jq", "journalctl", "nc", "pip", "rsyslogd"),
    *("socat", "systemctl", "syslog-ng", "tail", "echo", "printf", "curl", "touch"),
}
PYTHON = "build/venv/bin/python"
CONFIGURATIONS, COMMANDS = [*configurations()], [*commands()]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
RULE = """\
title: One
logsource: {product: linux, category: process_creation}
detection: {selection: {Image: /bin/x}, condition: selection}
"""


def place(example: Example) -> str:
    return example.place


def test_there_are_as_many_as_the_pages_have() -> None:
    assert len(CONFIGURATIONS) > 20
    assert len(COMMANDS) > 50
    pages = {each.place.partition(":")[0] for each in (*CONFIGURATIONS, *COMMANDS)}
    manuals = {f"man/{name}" for name in ("sysmonlx.5", "sysmonlx.8")}
    tools = {f"man/sysmonlx-{name}.1" for name in ("logview", "sigma")}
    assert manuals | tools | {"README.md", "docs/sigma.md"} <= pages


@pytest.mark.parametrize("example", CONFIGURATIONS, ids=place)
def test_configuration_loads_without_a_warning(
    example: Example, tmp_path: Path
) -> None:
    (tmp_path / "one.yml").write_text(RULE)
    text = example.text.replace("/etc/sysmonlx/rules.d", str(tmp_path))
    if str(tmp_path) in text:
        pytest.importorskip("sigma.rule", reason="pySigma is not installed")
    _, warnings = read_policy(text.encode(), "example.xml")
    assert warnings == ()


def check_sysmonlx(words: list[str]) -> None:
    line = parse(words)
    check_company(line)
    check_before_root(line)
    check_before_action(line)
    assert line.action is not Action.USAGE
    if line.action is Action.WATCH:
        shown = [each for each in line.words if not each.endswith(".xml")]
        watching.check(parse(["-t", *shown]))


def check_command(words: list[str]) -> None:
    """Refuse what the program named would refuse for its words."""
    program, *rest = words
    if program in ("sudo", "env"):
        check_command([each for each in rest if "=" not in each])
    elif program == "sysmonlx":
        check_sysmonlx(rest)
    elif program == "sysmonlx-logview":
        options.parse(rest)
    elif program == "sysmonlx-sigma":
        _parser().parse_args(rest)
    elif program == "make":
        wanted = [each for each in rest if "=" not in each]
        assert {*wanted} <= TARGETS
    elif program == PYTHON:
        files = [each for each in rest if each.startswith("tests/")]
        assert all((ROOT / each).exists() for each in files)
    else:
        assert program in OTHERS


@pytest.mark.parametrize("example", COMMANDS, ids=place)
def test_command_is_one_that_is_understood(example: Example) -> None:
    for words in pipeline(example.text):
        check_command(words)


def test_switches_that_a_sentence_names_exist() -> None:
    long = {f"--{each.rstrip('=')}" for each in options._LONG}
    of_sigma = {
        switch
        for action in _parser()._actions
        if isinstance(action.choices, dict)
        for parser in action.choices.values()
        for made in parser._actions
        for switch in made.option_strings
    }
    known = {
        "sysmonlx": {*(f"-{each.switch}" for each in _TABLE), "-?", "--version"},
        "sysmonlx-logview": {*long, *(f"-{each}" for each in options._SHORT)},
        "sysmonlx-sigma": of_sigma,
    }
    found = [*mentions()]
    assert len(found) > 30
    for each in found:
        program, *words = each.text.split()
        if program in known:
            switches = {word for word in words if re.match(r"-[-\w?]", word)}
            assert switches <= known[program], each


def test_verdicts_of_the_page_on_rules_are_those_of_the_program(
    program: Program,
) -> None:
    text = (ROOT / "docs/rules.md").read_text("utf-8")
    (xml,) = re.findall(r"(?ms)^```xml\n(<Sysmon.*?)^```$", text)
    (shown,) = re.findall(r"(?ms)^```\n(include\t.*?)^```$", text)
    Path("three.xml").write_text(xml)
    events = (
        ("/usr/bin/vi", "/etc/cron.d/backup"),
        ("/usr/bin/apt", "/usr/lib/x.so"),
        ("/usr/bin/vi", "/tmp/note"),
    )
    lines = [line(11, Image=image, TargetFilename=path) for image, path in events]
    Path("events.xml").write_text("\n".join(lines))
    said = program("-test", "three.xml", "events.xml", "-v")
    assert said.status == 0
    assert said.out == shown
