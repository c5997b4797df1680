# SPDX-License-Identifier: MIT
"""Tree, story, timeline, rules and record ids of `sysmonlx-logview`."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from support.logview import line, logview, syslog
from support.private import private_home

from sysmonlx.output.record_ids import RecordIds
from sysmonlx.viewer.what import short_rule, technique

BASH, CURL, SUDO, MALWARE, OTHER = (f"{{0000000{n}-aaaa}}" for n in range(1, 6))
RULE = "technique_id=T1105,technique_name=Ingress Tool Transfer"


def start(guid: str, parent: str, image: str, s: float, **more: str) -> str:
    number = guid[8]
    values = {
        "ProcessGuid": guid,
        "ParentProcessGuid": parent,
        "ProcessId": f"424{number}",
        "Image": image,
        "CommandLine": f"{image} arg",
        "User": "alice",
        "ParentImage": "/bin/bash",
        "ParentProcessId": "4241",
    }
    return line(1, int(s * 10), s=s, **(values | more))


#: An incident: a download, and what was downloaded runs as root.
INCIDENT = syslog(
    start(CURL, BASH, "/usr/bin/curl", 1, RuleName=RULE),
    line(
        3,
        11,
        s=1.1,
        ProcessGuid=CURL,
        ProcessId="4242",
        Image="/usr/bin/curl",
        Protocol="tcp",
        SourceIp="10.0.0.5",
        SourcePort="50122",
        DestinationIp="93.184.216.34",
        DestinationPort="443",
        Initiated="true",
    ),
    line(11, 12, s=1.2, ProcessGuid=CURL, TargetFilename="/tmp/x"),
    line(5, 13, s=1.25, ProcessGuid=CURL),
    start(SUDO, BASH, "/usr/bin/sudo", 2),
    start(MALWARE, SUDO, "/tmp/x", 3, User="root", RuleName="Run from /tmp"),
    *(
        line(11, 40 + n, s=3 + n / 100, ProcessGuid=MALWARE, TargetFilename=f"/v/{n}")
        for n in range(20)
    ),
    start(OTHER, "{00000009-aaaa}", "/bin/other", 4),
)


# --- tree


def test_tree_shows_ancestors_and_descendants_of_what_was_asked_for() -> None:
    found = logview("--tree", "Image image sudo", data=INCIDENT)
    assert found.status == 0
    rows = [re.sub(r"^( *)[\d:.]{12} ", r"\1", row) for row in found.out.splitlines()]
    assert rows == [
        "-- 2026-01-05 host1 --",
        "bash[4241]  (began before this log)",
        '  sudo[4243] alice  "/usr/bin/sudo arg"',
        '    x[4244] root  "/tmp/x arg"  ["Run from /tmp"]',
        "      : w 20 files below /v: 0 1 2 ...",
    ]


def test_tree_without_conditions_shows_all() -> None:
    out = logview("--tree", data=INCIDENT).out
    assert "other[4245]" in out
    assert "ended after 0.25 s" in out
    assert '["T1105 Ingress Tool Transfer"]' in out
    assert '    : ~ "tcp 10.0.0.5:50122 -> 93.184.216.34:443"' in out


def test_full_tree_shortens_nothing() -> None:
    out = logview("--tree", "--full", data=INCIDENT).out
    assert len(re.findall(" w /v/", out)) == 20


def test_circle_of_parents_ends_and_shows_each_process_once() -> None:
    data = syslog(
        start(CURL, SUDO, "/a", 1),
        start(SUDO, CURL, "/b", 2),
        start(BASH, BASH, "/c", 3),
    )
    out = logview("--tree", data=data).out
    assert sorted(re.findall(r"(\w)\[424", out)) == ["a", "b", "c"]


def test_deep_tree_is_no_recursion() -> None:
    guids = [f"{{{n:08}-aaaa}}" for n in range(3000)]
    starts = [
        line(1, n + 1, s=n / 100, ProcessGuid=guid, ParentProcessGuid=guids[n - 1])
        for n, guid in enumerate(guids)
        if n
    ]
    found = logview("--tree", data=syslog(*starts))
    assert found.status == 0
    assert len(found.out.splitlines()) > 2999
    assert max(map(len, found.out.splitlines())) < 200


def guid_of(image: int, process: int = 0x6C5) -> str:
    """Return the GUID of an image of a process, as the service makes it."""
    low = f"{image & 0xFF:02x}{(process & 0xF) << 4 | image >> 8:02x}"
    return f"{{00000000-94dd-6b0c-{low}-{process:012x}}}"


#: A shell forks, opens the file for the output, and runs a program that runs another.
REDIRECTED = syslog(
    start(BASH, OTHER, "/bin/bash", 1, ProcessId="4000"),
    line(
        11,
        12,
        s=1.2,
        ProcessGuid=guid_of(0xFF),
        ProcessId="4001",
        Image="/bin/bash",
        TargetFilename="/tmp/out",
        User="alice",
    ),
    *(
        start(guid_of(image), BASH, name, image - 0xFE, ProcessId="4001")
        for image, name in ((0x100, "/bin/env"), (0x101, "/usr/bin/id"))
    ),
    line(5, 50, s=5, ProcessGuid=guid_of(0x101), ProcessId="4001"),
)


def test_images_of_one_process_stand_below_the_parent_that_forked_it() -> None:
    found = logview("--tree", "CommandLine~/id", data=REDIRECTED)
    assert found.out.splitlines()[-4:] == [
        "    10:00:01.200 bash[4001] alice  (forked)  then ran env",
        "      : w /tmp/out",
        '    10:00:02.000 env[4001] alice  "/bin/env arg"  then ran id',
        '    10:00:03.000 id[4001] alice  "/usr/bin/id arg"  ended after 2.00 s',
    ]


def test_story_tells_which_program_a_process_ran_then() -> None:
    out = logview("--story", guid_of(0x100), data=REDIRECTED).out
    assert "* ran `/usr/bin/id` then, at `2026-01-05 10:00:03.000` UTC" in out
    assert "does not tell that it ended" not in out
    out = logview("--story", guid_of(0xFF), data=REDIRECTED).out
    assert "* forked" in out
    assert "1. `/bin/bash` (`4000`), user `alice`" in out
    assert "began before this log" not in out.partition("## Ancestors")[0]


def with_ours(text: str, **ours: str) -> str:
    """Return a line with fields that the setting Fields adds."""
    more = "".join(f'<Data Name="{n}">{v}</Data>' for n, v in ours.items())
    return text.replace("</EventData>", f"{more}</EventData>")


#: A shell (0) forks a subshell (1), in which curl (2) runs: the subshell has no event.
SHELL, SUBSHELL, DOWNLOAD = (guid_of(5, 0x6C0 + n) for n in range(3))
BELOW = {"ProcessId": "4002", "ParentProcessId": "4001", "ParentUser": "alice"}
SUBSHELLS = (
    start(SHELL, OTHER, "/bin/bash", 1, ProcessId="4000"),
    start(DOWNLOAD, SUBSHELL, "/bin/curl", 3, **BELOW),
)


def test_parent_that_only_forked_stands_below_the_process_of_its_program() -> None:
    shell, curl = SUBSHELLS
    told = syslog(shell, with_ours(curl, ParentProgramGuid=SHELL))
    lines = logview("--tree", "Image~curl", data=told).out.splitlines()
    assert [each.strip().split("  ")[0] for each in lines[-3:]] == [
        "10:00:01.000 bash[4000] alice",
        "10:00:03.000 bash[4001] alice",
        "10:00:03.000 curl[4002] alice",
    ]
    assert "(forked)" in lines[-2]
    assert (
        "bash[4000]" not in logview("--tree", "Image~curl", data=syslog(*SUBSHELLS)).out
    )


def test_what_a_fork_did_stands_below_the_process_of_its_program() -> None:
    """A subshell writes a file and ends; it starts nothing."""
    own = {"ProcessGuid": SUBSHELL, "ProcessId": "4001", "Image": "/bin/bash"}
    end = with_ours(line(5, 9, s=4, **own), ParentProgramGuid=SHELL)
    wrote = line(11, 8, s=3, TargetFilename="/tmp/out", **own)
    out = logview("--tree", "ProcessId=4000", data=syslog(SUBSHELLS[0], wrote, end)).out
    assert out.splitlines()[-2:] == [
        "    10:00:03.000 bash[4001]  (forked)  ended 10:00:04.000",
        "      : w /tmp/out",
    ]


def test_process_whose_start_was_left_out_is_not_said_to_have_forked() -> None:
    own = {"ProcessGuid": guid_of(6, 0x6C1), "ProcessId": "4001", "Image": "/bin/id"}
    end = with_ours(line(5, 9, s=4, **own), ParentProgramGuid=SHELL)
    out = logview("--tree", data=syslog(SUBSHELLS[0], end)).out
    assert "    10:00:04.000 id[4001]" in out
    assert "(forked)" not in out


def test_words_follow_a_tree_across_a_parent_that_only_forked() -> None:
    shell, curl = SUBSHELLS
    told = syslog(shell, with_ours(curl, ParentProgramGuid=SHELL))
    assert "curl" in logview("-w", "tree:4000", data=told).out
    assert "curl" not in logview("-w", "tree:4000", data=syslog(*SUBSHELLS)).out


def test_who_began_in_the_time_of_the_log_did_not_begin_before_it() -> None:
    """The second of the fork stands in the ProcessGuid: 8ba0-695b is 10:00:00."""
    old, new = (
        f"{{00000000-{low}-695b-0500-00000000{n}}}"
        for low, n in (("8b00", "6c50"), ("8ba2", "6c60"))
    )
    lines = (
        line(
            11,
            n,
            s=n,
            ProcessGuid=guid,
            ProcessId=str(n),
            Image="/b",
            TargetFilename="/x",
        )
        for n, guid in enumerate((old, new), 1)
    )
    out = logview("--tree", data=syslog(*lines)).out
    assert [
        each.count("(its start is not in this log)")
        for each in out.splitlines()
        if "b[" in each
    ] == [
        0,
        1,
    ]


def test_processes_of_one_number_are_no_images_of_one_process() -> None:
    other = start(guid_of(0x101, 0x7C5), BASH, "/usr/bin/id", 3, ProcessId="4001")
    one = start(guid_of(0x100), BASH, "/bin/env", 2, ProcessId="4001")
    assert "then ran" not in logview("--tree", data=syslog(one, other)).out


def test_one_pid_on_two_machines_is_two_processes() -> None:
    one = syslog(start(CURL, BASH, "/a", 1))
    data = one + one.replace(b"host1", b"host2")
    assert len(re.findall(r"a\[4242\]", logview("--tree", data=data).out)) == 2


@pytest.mark.parametrize("view", ["--tree", "--timeline", "--rules", "--story=4242"])
def test_hostile_names_stay_in_their_line(view: str) -> None:
    text = "\x1b[2J\n# fake\r\u202e`|<b>"
    data = syslog(
        start(CURL, BASH, text, 1, RuleName=text, User=text),
        line(11, 12, s=1.2, ProcessGuid=CURL, TargetFilename=text, RuleName=text),
        start(SUDO, CURL, text, 2, CommandLine=text),
    )
    found = logview(view, data=data)
    assert found.status == 0
    for row in found.out.splitlines():
        assert row.isprintable(), ascii(row)
        assert not row.startswith("# fake")
        assert view != "--story=4242" or "<b>" not in row


def test_rules_of_a_tree_are_in_colour_and_nothing_else() -> None:
    forged = line(11, 80, s=3.3, ProcessGuid=MALWARE, TargetFilename='/v/ [no" [no]')
    data = INCIDENT + syslog(forged)
    out = logview("--tree", "--colour=always", data=data).out
    found = re.findall(r"\x1b\[1;33m ?(.*?)\x1b\[0m", out)
    assert found == ['["T1105 Ingress Tool Transfer"]', '["Run from /tmp"]']
    assert re.sub(r"\x1b\[[0-9;]*m", "", out) == logview("--tree", data=data).out


# --- story


@pytest.mark.parametrize("name", [CURL, CURL[1:-1].upper(), "4242"])
def test_story_tells_one_process_in_order(name: str) -> None:
    found = logview("--story", name, data=INCIDENT)
    assert found.status == 0
    assert found.out.startswith("# Process `4242`, `/usr/bin/curl`\n")
    assert "* ended `2026-01-05 10:00:01.250` UTC, after 0.25 s" in found.out
    assert "1. `/bin/bash` (`4241`), user `-`, began before this log" in found.out
    at = found.out.index
    assert at("tcp 10.0.0.5:50122") < at("| FileCreate | `/tmp/x`")
    assert "| address | `93.184.216.34` |" in found.out


def test_story_has_children_and_ancestors() -> None:
    out = logview("--story", SUDO, data=INCIDENT).out
    assert "| started a child | `(4244) /tmp/x arg` | `Run from /tmp` |" in out
    out = logview("--story", MALWARE, data=INCIDENT).out
    assert out.index("1. `/usr/bin/sudo`") < out.index("2. `/bin/bash`")


def test_story_has_the_fields_that_were_added() -> None:
    told = with_ours(SUBSHELLS[1], LoginUser="mallory", EntryPoint="-")
    out = logview("--story", "4002", data=syslog(told)).out
    assert "* LoginUser `mallory`" in out
    assert "EntryPoint" not in out


def test_story_tells_of_losses_in_its_time() -> None:
    lost = line(255, 50, s=1.2, ID="LostEvents", Description="FileCreate: 3 lost (x)")
    out = logview("--story", CURL, data=INCIDENT + syslog(lost)).out
    assert "* **events were lost**" in out


def test_story_of_nobody_is_a_usage_error() -> None:
    found = logview("--story", "99", data=INCIDENT)
    assert found.status == 2
    assert found.err.count("\n") == 1


def test_story_takes_the_name_of_a_program() -> None:
    for name in ("curl", "/usr/bin/curl"):
        found = logview("--story", name, data=INCIDENT)
        assert found.out == logview("--story", CURL, data=INCIDENT).out
    twice = INCIDENT + syslog(start("{00000007-aaaa}", BASH, "/usr/bin/curl", 9))
    found = logview("--story", "curl", data=twice)
    assert found.status == 2
    assert "2 processes have this name, take a pid: 4242 (" in found.err


def test_story_has_files_of_a_directory_in_one_row() -> None:
    marked = line(
        11, 90, s=3.5, ProcessGuid=MALWARE, TargetFilename="/v/y", RuleName=RULE
    )
    out = logview("--story", "x", data=INCIDENT + syslog(marked)).out
    assert "| `10:00:03.000` | FileCreate | `20 files below /v: 0, 1, 2 ...` |" in out
    assert "| `/v/y` | `T1105 Ingress Tool Transfer` |" in out
    assert "* rule `T1105 Ingress Tool Transfer`, FileCreate at `10:00:03.500`" in out
    assert "* in all 21 FileCreate\n" in out
    assert "| files | `20 files below /v: 0, 1, 2 ...` |" in out
    full = logview("--story", "x", "--full", data=INCIDENT).out
    assert full.count("| FileCreate | `/v/") == 20


# --- timeline and rules


def test_timeline_counts_by_event_and_rule() -> None:
    rows = logview("--timeline", data=INCIDENT).out.splitlines()
    assert rows[0] == "-- 2026-01-05 --"
    assert rows[1].startswith("10:00:01 ")
    assert "4  ProcessCreate=1 NetworkConnect=1 FileCreate=1" in rows[1]
    assert rows[1].endswith('! 1 "T1105 Ingress Tool Transfer"')
    assert rows[3].split()[2:5] == ["21", "FileCreate=20", "ProcessCreate=1"]


@pytest.mark.parametrize(("span_s", "step"), [(50, 8), (3000, 5)])
def test_timeline_has_few_rows_and_loses_none(span_s: int, step: int) -> None:
    lines = [line(5, n + 1, s=n * span_s / 500) for n in range(500)]
    rows = logview("--timeline", data=syslog(*lines)).out.splitlines()[1:]
    counts = [int(row.split()[2]) for row in rows if row != "..."]
    assert sum(counts) == 500
    assert len(rows) <= 61
    assert {len(row.split()[0]) for row in rows} == {step}


def test_rules_are_counted_with_their_technique() -> None:
    out = logview("--rules", data=INCIDENT).out
    rows = out.splitlines()
    assert rows[0] == "2 of 27 events under 2 rules"
    assert '"Run from /tmp"' in out
    [row] = [row for row in rows if "T1105" in row]
    assert row.split()[:2] == ["1", "T1105"]
    assert row.endswith('"Ingress Tool Transfer"')
    assert "1 /usr/bin/curl" in out


@pytest.mark.parametrize(
    ("name", "found", "short"),
    [
        (RULE, "T1105", "T1105 Ingress Tool Transfer"),
        ("T1059.004,shell", "T1059.004", "T1059.004,shell"),
        ("technique_id=T1,technique_name=x", "", "x"),
        ("XT1105", "", "XT1105"),
    ],
)
def test_technique_of_a_name(name: str, found: str, short: str) -> None:
    assert technique(name) == found
    assert short_rule(name) == short


# --- record ids


def lost(record_id: int, count: int) -> str:
    text = f"FileCreate: 9 lost (ring full); Events: {count} lost (sink: full) since x"
    return line(255, record_id, s=record_id, ID="LostEvents", Description=text)


@pytest.mark.parametrize(
    ("lines", "status", "text"),
    [
        ([(n, 0) for n in range(5, 9)], 0, "none is missing"),
        ([(8, 0), (5, 0), (7, 0), (6, 0)], 0, "none is missing"),
        ([(5, 0), (9, 0)], 3, "missing 6 to 8 (3), between"),
        ([(5, 0), (9, 0), (10, 3)], 0, "explained by event 255"),
        ([(5, 0), (9, 3)], 0, "explained by event 255"),
        ([(5, 3), (9, 0)], 3, "UNEXPLAINED"),
        ([(5, 0), (9, 0), (10, 2)], 3, "UNEXPLAINED"),
        ([(5, 0), (7, 0), (9, 0), (10, 1)], 3, "UNEXPLAINED"),
        ([(5, 0), (7, 0), (9, 0), (10, 1), (11, 1)], 0, "explained"),
        ([(5, 0), (8, 0), (10, 2), (10, 2)], 3, "explained by event 255"),
        ([(5, 0), (7, 0), (9, 0), (10, 1), (10, 1)], 3, "UNEXPLAINED"),
        ([(5, 0), (5, 0)], 0, "1 lines are there more than once"),
    ],
)
def test_missing_record_ids_are_told_unless_event_255_explains_them(
    lines: list[tuple[int, int]], status: int, text: str
) -> None:
    data = syslog(*(lost(n, k) if k else line(5, n, s=n) for n, k in lines))
    found = logview("--verify", data=data)
    assert found.status == status
    assert text in found.out


def after_a_loss_of_power(home: Path) -> RecordIds:
    """Return numbers as a start finds them when the machine has ended unforeseen."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        live = Path(memory) / "record_id"
        RecordIds(home / "record_id", live).take(5)  # as if it had not ended
        live.unlink()
        return RecordIds(home / "record_id", live)


def test_numbers_that_a_loss_of_power_left_out_are_explained(tmp_path: Path) -> None:
    ids = after_a_loss_of_power(private_home(tmp_path))
    first = ids.take()
    told = line(255, first + 1, s=2, ID="State", Description=ids.warning)
    behind = line(5, first + 3, s=3)
    found = logview("--verify", data=syslog(line(5, 4), line(4, first, s=1), told))
    assert (found.status, "explained by event 255" in found.out) == (0, True)
    for lines in (line(4, first + 1), told), (line(4, first), told, behind):
        assert logview("--verify", data=syslog(line(5, 4), *lines)).status == 3


def test_altered_and_swapped_lines_are_named() -> None:
    data = syslog(line(5, 7, s=7), line(5, 7, s=7, Image="/b"), line(5, 8, s=1))
    found = logview("--verify", data=data)
    assert found.status == 3
    assert "7 stands for two different events" in found.out
    assert "8 was written 2026-01-05 10:00:01.000, before 7" in found.out


def test_number_0_is_the_first_of_an_installation() -> None:
    found = logview("--verify", data=syslog(line(16, 0), line(4, 1), line(5, 2)))
    assert (found.status, "without a record id" in found.out) == (0, False)
    assert "3 lines, record ids 0 to 2" in found.out
    assert logview("--verify", data=syslog(line(16, 0), line(5, 2))).status == 3


def test_line_without_a_number_is_told() -> None:
    data = syslog(
        line(5, 1), re.sub("<EventRecordID>.*</EventRecordID>", "", line(5, 2))
    )
    found = logview("--verify", data=data)
    assert "host1: 1 line without a record id" in found.out


def test_machines_are_told_apart() -> None:
    data = syslog(line(5, 1)) + syslog(line(5, 5)).replace(b"host1", b"host2")
    found = logview("--verify", data=data)
    assert found.status == 0
    assert found.out.count("none is missing") == 2


def test_verify_takes_no_conditions() -> None:
    assert logview("--verify", "-e", "1").status == 2
