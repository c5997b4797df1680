# SPDX-License-Identifier: MIT
"""What the program prints and returns, once it has read a configuration."""

from __future__ import annotations

import gzip
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.calls import Program
from support.running import REPOSITORY

from sysmonlx.cli import exit_status

GOOD = """<Sysmon schemaversion="4.90"><EventFiltering>
<ProcessCreate onmatch="include"><Image name="shells">/bin/sh</Image></ProcessCreate>
</EventFiltering></Sysmon>
"""
LISTING = """\
 - ProcessCreate                      onmatch: include   combine rules using 'And'
\tImage                          filter: is           value: '/bin/sh'
"""
BAD = GOOD.replace("Image", "Imago")
EVENT = (
    '<Event><System><Provider Name="Linux-Sysmon"/><EventID>1</EventID></System>'
    '<EventData><Data Name="Image">/bin/sh</Data></EventData></Event>\n'
)


@pytest.fixture
def program(program: Program, tmp_path: Path) -> Program:
    """The program beside a configuration that is good and one that is not."""
    (tmp_path / "good.xml").write_text(GOOD)
    (tmp_path / "bad.xml").write_text(BAD)
    return program


def test_bad_configuration_is_named_with_its_line(program: Program) -> None:
    said = program("-c", "bad.xml")
    assert said.status == 87
    assert "bad.xml:2:" in said.out
    assert "Image" in said.out
    assert said.err == "'sysmonlx -? config' explains the configuration.\n"


def test_file_that_is_not_there_is_named_with_the_reason(program: Program) -> None:
    said = program("-i", "/nonexistent.xml")
    assert said.status == 87
    assert (
        "Error: Failed to open xml configuration: /nonexistent.xml "
        "(No such file or directory)\n"
    ) in said.out


def test_listing_of_a_file_needs_no_daemon(program: Program, tmp_path: Path) -> None:
    said = program("-c", "good.xml", "-y", "rules.txt")
    assert said.status == 0
    assert (tmp_path / "rules.txt").read_text() == LISTING


def test_listing_without_rules_or_directory_is_255(
    program: Program, tmp_path: Path
) -> None:
    (tmp_path / "empty.xml").write_text('<Sysmon schemaversion="4.90"></Sysmon>')
    assert program("-c", "empty.xml", "-y", "rules.txt").status == 255
    said = program("-c", "good.xml", "-y", "none/rules.txt")
    assert (said.status, "none/rules.txt: No such file" in said.err) == (255, True)


def test_rules_are_compared_with_those_kept(program: Program, tmp_path: Path) -> None:
    assert program("-c", "good.xml", "-x", "kept").status == 0
    assert program("-c", "good.xml", "-x", "kept").status == 0
    (tmp_path / "kept").write_text("other")
    assert program("-c", "good.xml", "-x", "kept").status == 254
    assert program("-c", "good.xml", "-x", ".").status == 255


def test_events_are_tried_on_a_configuration(program: Program, tmp_path: Path) -> None:
    (tmp_path / "events").write_text(EVENT + EVENT.replace("/bin/sh", "/bin/ls"))
    said = program("-test", "good.xml", "events")
    lines = said.out.splitlines()
    assert said.status == 0
    assert lines[:2] == ["include\tshells\tgood.xml:2", "exclude\t-\tdefault"]
    assert exit_status.BANNER in said.err


def test_events_may_come_from_standard_input(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (("good.xml", "-"), ("good.xml",)):
        out, into = os.pipe()
        os.write(into, EVENT.encode())
        os.close(into)
        with open(out) as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            assert program("-test", *words).out.startswith("include\tshells\t")


def test_compressed_events_and_those_in_utf_16_are_read(
    program: Program, tmp_path: Path
) -> None:
    for data in (
        gzip.compress(EVENT.encode()),
        lzma.compress(EVENT.encode()),
        EVENT.encode("utf-16"),
        EVENT.encode("utf-16-be"),
        gzip.compress(EVENT.encode("utf-16-le")),
    ):
        (tmp_path / "events").write_bytes(data)
        said = program("-test", "good.xml", "events")
        assert (said.status, said.out.split("\t")[0]) == (0, "include"), data[:8]


def test_what_was_read_before_the_damage_is_judged(
    program: Program, tmp_path: Path
) -> None:
    packed = gzip.compress(EVENT.encode() * 20_000)
    (tmp_path / "events").write_bytes(packed[:-20])
    said = program("-test", "good.xml", "events")
    assert said.status == 1
    assert said.out.count("include\tshells") > 1000
    assert "events was not read to its end: cut short or damaged" in said.err


def test_trial_says_what_cannot_be_read(program: Program, tmp_path: Path) -> None:
    assert program("-test", "bad.xml", "events").status == 87
    said = program("-test", "good.xml", "none")
    assert (said.status, "Cannot read none: No such file" in said.err) == (87, True)
    (tmp_path / "events").write_text("no event at all\n")
    assert program("-test", "good.xml", "events").status == 1


def test_tolerance_counts_in_trials(program: Program, tmp_path: Path) -> None:
    (tmp_path / "events").write_text(EVENT)
    assert program("-test", "bad.xml", "events").status == 87
    said = program("-test", "bad.xml", "events", "-lax", "-nologo")
    assert (said.status, len(said.out.splitlines()[0].split("\t"))) == (0, 3)


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("words", "status", "last"),
    [
        (("-i",), 228, "You need to run Sysmon as root."),
        (("-c",), 228, "You need to run Sysmon as root."),
        (("-c", "good.xml"), 228, "You need to run Sysmon as root."),
        (("-u",), 228, "You need to run Sysmon as root."),
        (("-t",), 228, "You need to run Sysmon as root."),
        (("-stats",), 228, "You need to run Sysmon as root."),
        (("-selftest",), 228, "You need to run Sysmon as root."),
        (("-c", "good.xml", "-y", "/dev/null"), 0, "Configuration file validated."),
        (("-test", "good.xml", "events"), 0, "# 0\tdefault"),
        (("-s",), 0, "</manifest>"),
    ],
)
def test_root_is_needed_to_act_and_for_nothing_else(
    tmp_path: Path, words: tuple[str, ...], status: int, last: str
) -> None:
    if not all(each.stat().st_mode & 1 for each in Path(REPOSITORY).parents):
        pytest.skip(f"{REPOSITORY} is closed to all users but root")
    (tmp_path / "good.xml").write_text(GOOD)
    (tmp_path / "events").write_text(EVENT)
    script = (
        "import os, sys; sys.path.append(sys.argv.pop(1)); "
        "from sysmonlx.cli import main, replay;"
        "from sysmonlx.config import reader; from sysmonlx.schema import versions;"
        "os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534);"
        "sys.exit(main.main())"
    )
    # In the directory already: those above may be closed to others, as pytest's are.
    tmp_path.chmod(0o755)
    result = subprocess.run(
        [sys.executable, "-P", "-c", script, REPOSITORY, *words],
        env={"SYSMONLX_ROOT": os.fspath(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in result.stdout.splitlines() if line.strip()]
    assert (result.returncode, lines[-1].strip()) == (status, last.strip())


@pytest.mark.parametrize("words", [("-s", "all"), ("-?", "config")])
def test_output_that_cannot_be_written_is_an_error(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-P", "-m", "sysmonlx", *words]
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            command,
            env={"PYTHONPATH": os.fspath(REPOSITORY)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr.endswith("Error: No space left on device\n")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("words", ["-s all", "-nologo -test good.xml events"])
def test_reader_that_goes_away_is_no_noise(tmp_path: Path, words: str) -> None:
    (tmp_path / "good.xml").write_text(GOOD.replace("/bin/sh", "/usr/bin/sh"))
    (tmp_path / "events").write_text(EVENT * 20_000)
    command = f"{sys.executable} -P -m sysmonlx {words} | head -1"
    result = subprocess.run(
        ["/bin/sh", "-c", command],
        env={"PYTHONPATH": os.fspath(REPOSITORY), "PATH": os.defpath},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Error" not in result.stderr
    assert "Traceback" not in result.stderr
