# SPDX-License-Identifier: MIT
"""What the program prints and returns, where neither root nor a daemon is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.calls import Program

from sysmonlx import __version__
from sysmonlx.cli import exit_status
from sysmonlx.schema.versions import schema_text

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "words",
    [
        ("-?",),
        ("-h",),
        ("-HELP",),
        ("--help",),
        ("-nologo", "-?"),
        ("-?", "config"),
        ("--help", "Configuration"),
    ],
)
def test_help_that_was_asked_for_goes_to_standard_output(
    program: Program, words: tuple[str, ...]
) -> None:
    said = program(*words)
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith(exit_status.BANNER) != ("-nologo" in words)
    is_about_config = len(words) > 1 and "-nologo" not in words
    wanted = "schema is version: 4.90" if is_about_config else "Usage:\n"
    assert wanted in said.out


def test_version_is_one_line(program: Program) -> None:
    said = program("--version")
    assert (said.status, said.out, said.err) == (0, f"sysmonlx {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("-sats",), "Unknown switch: -sats, did you mean -stats?"),
        (
            ("-acceptuela", "-i"),
            "Unknown switch: -acceptuela, did you mean -accepteula?",
        ),
        (("help",), "Not a switch: help, did you mean --help?"),
        (("status",), "Not a switch: status, did you mean -stats?"),
        (("-q",), "Unknown switch: -q"),
        (("-k",), "-k needs a value."),
        (("-dns", "x"), "-d needs a value."),
    ],
)
def test_reason_of_a_wrong_command_line_stands_last(
    program: Program, words: tuple[str, ...], reason: str
) -> None:
    said = program(*words)
    assert (said.status, said.err.splitlines()[-1]) == (87, reason)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("-m",),
        ("/i",),
        ("-accepteula",),
        ("-nope",),
        ("-i", "-c"),
        ("-k",),
        ("-dns", "x"),
    ],
)
def test_nothing_to_do_is_bad_parameters_with_usage(
    program: Program, words: tuple[str, ...]
) -> None:
    said = program(*words)
    assert (said.status, "Usage:\n" in said.err) == (87, True)
    assert said.out == exit_status.BANNER


def test_banner_can_be_left_out(program: Program) -> None:
    assert program("-nologo", "-s").out == schema_text(None)
    assert program("-s").out == schema_text(None), "the banner is no XML"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ("--",),
            "The '--' switch must be used with -c switch (config update) to set"
            " defaults.\n\n",
        ),
        (("-a", "x", "-c"), "\nOption not implemented on Linux.\n\n"),
        (("-i", "-r"), "\nOption not implemented on Linux.\n\n"),
        (("-t", "loud"), "Possible options for DebugMode: verbose\n\n"),
    ],
)
def test_refusals_have_the_texts_that_tools_look_for(
    program: Program, words: tuple[str, ...], text: str
) -> None:
    said = program(*words)
    assert (said.status, said.err) == (87, text)


def test_closed_standard_descriptors_are_given_to_no_file() -> None:
    """Closed by whoever starts the program: what is printed must not go to a file."""
    script = (
        "import os; os.closerange(0, 3)\n"
        "from sysmonlx.cli import main; status = main.main(['-s'])\n"
        "pipe = os.pipe(); os._exit(status or min(pipe) < 3)"
    )
    command = [sys.executable, "-P", "-c", script]
    environment = {**os.environ, "PYTHONPATH": os.fspath(REPOSITORY)}
    assert subprocess.run(command, env=environment, check=False).returncode == 0
