# SPDX-License-Identifier: MIT
"""The names of Microsoft's Sysmon: given all or none, and taken back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "sysmonlx" / "data" / "as-sysmon.sh"
NAMES = {
    "usr/bin/sysmon": "/p/sysmonlx",
    "usr/bin/sysmonLogView": "/p/sysmonlx-logview",
    "opt/sysmon/sysmon": "/p/sysmonlx",
    "opt/sysmon/sysmonLogView": "/p/sysmonlx-logview",
    "etc/systemd/system/sysmon.service": "sysmonlx.service",
}


@pytest.fixture
def script(tmp_path: Path) -> Path:
    text = SOURCE.read_text()
    text = text.replace("@PROGRAM@", "/p/sysmonlx")
    made = tmp_path / "as-sysmon"
    made.write_text(text.replace("@LOGVIEW@", "/p/sysmonlx-logview"))
    made.chmod(0o755)
    return made


def call(script: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DESTDIR": str(script.parent / "root of it")}
    return subprocess.run(
        [script, *words], env=environment, capture_output=True, text=True, check=False
    )


def there(script: Path) -> dict[str, str]:
    root = script.parent / "root of it"
    return {
        str(path.relative_to(root)): os.readlink(path)
        for path in root.rglob("*")
        if path.is_symlink()
    }


def test_names_are_given_twice_and_taken_back(script: Path) -> None:
    for _ in range(2):
        result = call(script, "install")
        assert result.returncode == 0, result.stderr
        assert there(script) == NAMES
    for _ in range(2):
        assert call(script, "remove").returncode == 0
    assert there(script) == {}
    assert not (script.parent / "root of it/opt/sysmon").exists()


@pytest.mark.parametrize("name", [*NAMES, "lib/systemd/system/sysmon.service"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_microsofts_stays_and_no_name_is_given(
    script: Path, name: str, kind: str
) -> None:
    taken = script.parent / "root of it" / name
    taken.parent.mkdir(parents=True)
    if kind == "file":
        taken.write_text("of Microsoft")
    else:
        (script.parent / "other").write_text("of Microsoft")
        taken.symlink_to(script.parent / "other")
    before = there(script)
    result = call(script, "install")
    assert result.returncode == 1
    assert f"/{name}" in result.stderr
    assert there(script) == before
    assert call(script, "remove").returncode == 0
    assert taken.read_text() == "of Microsoft"
    assert there(script) == before


def test_wrong_words_say_what_is_right(script: Path) -> None:
    for words in ((), ("Install",), ("--help",)):
        result = call(script, *words)
        assert (result.returncode, result.stderr) == (
            2,
            "usage: as-sysmon install|remove\n",
        )
