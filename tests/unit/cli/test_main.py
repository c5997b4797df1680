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
from sysmonlx.cli.changes import readable_anywhere
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
        (("sigma", "list"), "Not a switch: sigma, did you mean -sigma?"),
        (("--sigma", "list"), "Unknown switch: --sigma, did you mean -sigma?"),
        (
            ("-i", "-sigma"),
            "-sigma stands before all other switches (see 'sysmonlx -?')",
        ),
        (("-q",), "Unknown switch: -q (see 'sysmonlx -?')"),
        (("/i",), "Not a switch: /i (see 'sysmonlx -?')"),
        (("-k",), "-k needs a value (see 'sysmonlx -?')"),
        (("-dns", "x"), "-d needs a value (see 'sysmonlx -?')"),
        (
            ("-i", "-c"),
            "Only one of -i, -c, -u, -m, -z, -s, -test, -stats, -selftest may be given"
            " (see 'sysmonlx -?')",
        ),
        (("-n",), "-n goes with -i or -c (see 'sysmonlx -?')"),
        (("-l", "x"), "-l goes with -i or -c (see 'sysmonlx -?')"),
        (("-btf", "x"), "-btf goes with -i or -t (see 'sysmonlx -?')"),
        (("-lax",), "-lax goes with -i, -c, -t and -test (see 'sysmonlx -?')"),
        (("-y", "x"), "-y goes with -c or -i and a file (see 'sysmonlx -?')"),
        (
            ("-t", "verbose", "x"),
            "-t verbose takes no more words, as x (see 'sysmonlx -?')",
        ),
        (("-nologo", "-sigma", "x"), None),
    ],
)
def test_wrong_command_line_is_told_in_one_line(
    program: Program, words: tuple[str, ...], reason: str | None
) -> None:
    said = program(*words)
    if reason is None:  # that of the other program, which has no banner
        assert said.out == ""
        assert said.err.startswith("sysmonlx-sigma: argument COMMAND: invalid choice:")
        assert said.err.endswith("(see 'sysmonlx-sigma --help')\n")
        assert (said.status, said.err.count("\n")) == (2, 1)
        return
    assert (said.status, said.err) == (87, f"{reason}\n")
    assert said.out == exit_status.BANNER


@pytest.mark.parametrize("words", [("-?",), ("-s", "all"), ("-test", "x.xml")])
def test_who_reads_may_leave_at_any_time(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """As `| head -1` does: nothing is said, and the status is that of success."""
    (tmp_path / "x.xml").write_text('<Sysmon schemaversion="4.90"/>')
    said = to_nobody(["-P", "-m", "sysmonlx", "-nologo", *words], tmp_path)
    lines = [each for each in said.stderr.splitlines() if "onfiguration" not in each]
    assert (said.returncode, lines) == (0, [])


def test_change_whose_report_nobody_reads_says_so(tmp_path: Path) -> None:
    script = (
        "import sys; from sysmonlx.cli import commands, main\n"
        "commands.run = lambda words: print('done', flush=True)\n"
        "sys.exit(main.main(['-i']))"
    )
    said = to_nobody(["-P", "-c", script], tmp_path)
    assert (said.returncode, said.stderr) == (
        1,
        "Error: nobody reads standard output; 'sysmonlx -c' shows what is in force\n",
    )


def to_nobody(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with a pipe as standard output whose other end is closed."""
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        return subprocess.run(
            [sys.executable, *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.fspath(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(theirs)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("-m",),
        ("-accepteula",),
    ],
)
def test_nothing_to_do_is_bad_parameters_with_usage(
    program: Program, words: tuple[str, ...]
) -> None:
    said = program(*words)
    assert (said.status, "Usage:\n" in said.err) == (87, True)
    assert said.out == exit_status.BANNER


def test_banner_can_be_left_out(program: Program) -> None:
    assert program("-nologo", "-x").out == ""
    assert program("-q", "-NoLogo").out == ""
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
        (("-i", "-t", "loud"), "Possible options for DebugMode: verbose\n\n"),
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


@pytest.mark.parametrize(
    ("words", "stored"),
    [
        (["-i", "-btf", "a.btf"], ("-i", "-btf", "/x/a.btf")),
        (["-BTF", "/a.btf", "-i"], ("-BTF", "/a.btf", "-i")),
        (["-btf", "-i", "b.xml"], ("-btf", "-i", "b.xml")),
        (["-i", "a.btf"], ("-i", "a.btf")),
    ],
)
def test_command_line_is_stored_for_any_directory(
    words: list[str], stored: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getcwd", lambda: "/x")
    assert readable_anywhere(words) == ("sysmonlx", *stored)
