# SPDX-License-Identifier: MIT
"""The page of an incident as a file; tests/pages opens it in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from support.incident import (
    HOSTILE_NAMES,
    guid,
    hostile_lines,
    incident_lines,
    many_lines,
)
from support.logview import line, logview, syslog

PARTS = re.compile(
    r"<style>(?P<style>.*?)</style>.*"
    r'<script type="application/json" id="data">(?P<data>.*?)</script>\s*'
    r"<script>(?P<script>.*?)</script>\s*</body></html>\n",
    re.DOTALL,
)


def parts_of(text: str) -> dict[str, str]:
    found = PARTS.search(text)
    assert found is not None
    return found.groupdict()


def data_of(text: str) -> Any:
    return json.loads(parts_of(text)["data"])


def page(*lines: str, more: tuple[str, ...] = ()) -> str:
    found = logview("--html", "-", *more, data=syslog(*lines))
    assert (found.status, found.err) == (0, "")
    return found.out


def test_policy_names_the_one_script_and_the_one_style() -> None:
    text = page(*incident_lines())
    parts = parts_of(text)
    policy = unescape(re.findall('Policy" content="([^"]*)"', text)[0])
    for kind in ("script", "style"):
        digest = hashlib.sha256(parts[kind].encode()).digest()
        wanted = f"'sha256-{base64.b64encode(digest).decode()}'"
        assert f"{kind}-src {wanted};" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert text.index("Content-Security-Policy") < text.index("<title>")


def test_page_has_no_code_but_its_script() -> None:
    script = parts_of(page())["script"]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(|href|src\b",
        script,
    )
    text = page(*incident_lines()).replace(script, "")
    assert not re.search(r"\son\w+=|\sstyle=|<a\b|<img|<link|https?://\S+\.js", text)


def test_hostile_names_stay_in_the_data() -> None:
    lines = hostile_lines()
    text = page(*lines, more=("--title", HOSTILE_NAMES[0]))
    assert text.count("<script") == text.count("</script>") == 2
    assert text.count("</style>") == text.count("</title>") == 1
    assert "<!--" not in text
    assert "\u202e" not in text
    parts = parts_of(text)
    assert "<" not in parts["data"]
    strings = json.loads(parts["data"])["strings"]
    for name in HOSTILE_NAMES[:12]:
        assert name in strings
    assert "\\u202egnp.exe\\u200b" in strings


def test_rules_have_their_level_by_their_short_name() -> None:
    high = "sigma=Shell of a web server,level=high,technique_id=T1505.003"
    rules = (high, "Own rule", "-")
    data = data_of(
        page(*(line(11, n, RuleName=each) for n, each in enumerate(rules, 1)))
    )
    tags = [event[6] for event in data["events"]]
    names = [data["strings"][tag] for tag in tags]
    assert sorted(names) == ["", "Own rule", "Shell of a web server"]
    own = {data["strings"][int(tag)]: level for tag, level in data["levels"].items()}
    assert own == {"Shell of a web server": "high"}


def test_data_hold_every_value() -> None:
    data = data_of(page(*incident_lines()))
    strings = data["strings"]
    assert len(data["events"]) == 55
    for event in data["events"]:
        fields = data["types"][str(event[0])]["fields"]
        assert len(event) == 7 + len(fields)
        assert strings[event[7 + fields.index("ProcessGuid")]].startswith("{c30c9345")
        assert strings[event[3]] == "host1"
    names = [strings[process[1]] for process in data["processes"]]
    assert names == ["bash", "ls", "curl", "sudo", "x", "sh", "id"]
    parents = [process[3] for process in data["processes"]]
    assert parents == [-1, 0, 0, 0, 3, 4, 5]


def test_processes_tell_that_they_forked_and_what_they_ran_then() -> None:
    """A shell forks, makes the file for the output, and runs a program."""
    first, then = (f"{{00000000-94dd-6b0c-{n}50-0000000006c5}}" for n in ("01", "02"))
    own = {"ProcessId": "7", "Image": "/bin/bash"}
    parent = {
        "ParentProcessGuid": "{00000000-0000-0000-0140-0000000006c5}",
        "ParentImage": "/bin/bash",
    }
    data = data_of(
        page(
            line(11, 1, s=1, ProcessGuid=first, TargetFilename="/x", **own),
            line(1, 2, s=2, **own | {"Image": "/bin/id"}, ProcessGuid=then, **parent),
        )
    )
    strings = data["strings"]
    told = [[strings[p[at]] for at in (1, 7, 8)] for p in data["processes"]]
    before = "began before this log"
    assert told[:2] == [["bash", before, ""], ["bash", "forked", "id"]]
    assert [told[2][0], told[2][2]] == ["id", ""]


def test_conditions_choose_processes_with_ancestors_and_descendants() -> None:
    data = data_of(page(*incident_lines(), more=("TargetFilename~cron",)))
    strings = data["strings"]
    names = [strings[process[1]] for process in data["processes"]]
    assert names == ["bash", "sudo", "x", "sh", "id"]


def test_limit_keeps_rules_and_the_newest_and_says_what_is_left_out() -> None:
    text = page(*many_lines(500), more=("--limit", "100"))
    data = data_of(text)
    assert len(data["events"]) == 100
    assert "400 older events left out" in text
    assert sum(event[6] > 0 for event in data["events"]) == 3
    times = [event[1] for event in data["events"]]
    assert times == sorted(times)


def test_losses_are_in_the_head() -> None:
    lost = line(255, 99, ID="LostEvents", Description="Events: 3 lost (ring full)")
    assert "events were lost, told 1 times" in page(*incident_lines(), lost)


def test_circle_of_processes_is_a_tree_in_the_page() -> None:
    lines = [
        line(1, n, ProcessGuid=guid(n), ParentProcessGuid=guid(3 - n)) for n in (1, 2)
    ]
    parents = [process[3] for process in data_of(page(*lines))["processes"]]
    assert parents == [-1, 0]


def test_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.touch(mode=0o644)
    assert logview("--html", str(path), data=syslog(line(5))).status == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text("utf-8").endswith("</html>\n")


@pytest.mark.parametrize("name", ["link.html", "no/such/page.html"])
def test_file_that_cannot_be_written_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "link.html").symlink_to(tmp_path / "other")
    found = logview("--html", str(tmp_path / name), data=syslog(line(5)))
    assert found.status == 1
    assert found.err.startswith(f"sysmonlx-logview: {tmp_path}")
    assert found.err.count("\n") == 1
    assert not (tmp_path / "other").exists()
