# SPDX-License-Identifier: MIT
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.completion import offered as completion_of

from sysmonlx.config.command_line import (
    check_before_action,
    check_before_root,
    parse,
)
from sysmonlx.errors import UsageError
from sysmonlx.schema import completion
from sysmonlx.schema.options import OPTIONS, OWN_OPTIONS

NEEDS = {"Verbose": ("-test", "x.xml"), "HashAlgorithms": ("-i",)}
BY_NAME = {each.name: each for each in (*OPTIONS, *OWN_OPTIONS)}


def offered(*words: str, cwd: Path) -> set[str]:
    return completion_of(completion.bash(), "sysmonlx", *words, cwd=cwd)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules file.xml").touch()
    (tmp_path / "$(touch gone)").touch()
    return tmp_path


def test_bash_offers_switches_first(folder: Path) -> None:
    words = offered("", cwd=folder)
    assert {"-i", "-c", "-u", "-t", "-stats", "-test", "-?"} <= words
    assert "-z" not in words
    assert offered("-sta", cwd=folder) == {"-stats"}
    assert offered("-test", cwd=folder) == {"-test"}


@pytest.mark.parametrize("name", completion.VALUES)
def test_bash_offers_the_words_of_an_option(name: str, folder: Path) -> None:
    words = offered(f"-{BY_NAME[name].switch}", "", cwd=folder)
    assert {*completion.VALUES[name]} <= words
    assert "-nologo" not in words


def test_bash_offers_words_of_sigma_where_its_file_is_near(tmp_path: Path) -> None:
    data = Path(__file__).parents[3] / "sysmonlx/data/completion-sigma.bash"
    (tmp_path / "sysmonlx").write_text(completion.bash())
    script = """
. ./sysmonlx
COMP_WORDS=(sysmonlx -sigma "$@") COMP_CWORD=$(($# + 1))
_sysmonlx; printf '%s ' "${COMPREPLY[@]-}"
"""

    def said(*words: str) -> list[str]:
        command = ["bash", "-u", "-c", script, "bash", *words]
        result = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert result.stderr == ""
        return result.stdout.split()

    assert said("") == []
    (tmp_path / "sysmonlx-sigma").write_text(data.read_text())
    assert {"check", "list", "pack", "explain"} <= {*said("")}
    assert said("ch") == ["check"]
    assert said("list", "--j") == ["--json"]
    assert said("check", "sysmonlx-") == ["sysmonlx-sigma"]


@pytest.mark.parametrize("words", [("-i", ""), ("-test", ""), ("-test", "x", "")])
def test_bash_offers_files_and_runs_nothing(
    words: tuple[str, ...], folder: Path
) -> None:
    assert {"rules file.xml", "$(touch gone)"} <= offered(*words, cwd=folder)
    assert not (folder / "gone").exists()


def test_each_switch_that_is_offered_is_known() -> None:
    for option in completion.completed():
        if option.argument == "rest":  # another program's words, only in front
            with pytest.raises(UsageError, match="stands before"):
                parse([f"-{option.switch}"])
            continue
        needed = ("x.xml",) if option.argument == "required" else ()
        needed = ("sha1",) if option.name == "HashAlgorithms" else needed
        line = parse([*NEEDS.get(option.name, ()), f"-{option.switch}", *needed])
        assert line.has(option.name)


@pytest.mark.parametrize("name", [*completion.VALUES])
def test_each_word_that_is_offered_is_taken_and_another_is_not(name: str) -> None:
    before = [*NEEDS.get(name, ()), f"-{BY_NAME[name].switch}"]
    for word in completion.VALUES[name]:
        line = parse([*before, word])
        check_before_root(line)
        check_before_action(line)
    if name in ("PrintSchema", "Configuration", "DebugMode"):  # they take any word
        return

    def refuse() -> None:
        line = parse([*before, "other"])
        check_before_root(line)
        check_before_action(line)

    with pytest.raises(UsageError):
        refuse()


def test_each_switch_stands_in_both() -> None:
    for option in completion.completed():
        if option.switch != "-":
            assert f"-{option.switch}[" in completion.zsh()
            assert f"-{option.switch}" in completion.bash().split("'")[1].split()


def test_names_are_options() -> None:
    names = {each.name for each in completion.completed()}
    assert {*completion.VALUES} <= names
    assert {*completion.FILES} <= names
