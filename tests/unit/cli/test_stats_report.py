# SPDX-License-Identifier: MIT
"""The counters as tables: all terms of the sums, and those sums that do not hold."""

from __future__ import annotations

import copy

from support.snapshots import SNAPSHOT

from sysmonlx.cli.stats_report import report


def test_a_person_finds_all_terms_and_reasons() -> None:
    lines = [" ".join(line.split()) for line in report(SNAPSHOT).splitlines()]
    assert "file_create 100 20 3 60 17 59" in lines
    assert "lost: ring full 17" in lines
    assert "lost here: error: KeyError 1" in lines
    assert "4 State - 1 0 0 0 0 -" in lines
    assert "11 FileCreate 59 40 10 2 6 1 kernel" in lines
    assert "no event: not a regular file 6" in lines
    assert (
        "lines for sinks: 41 due, 30 delivered, 5 waiting, lost: spool full 6" in lines
    )
    assert "trouble: /x: No space" in lines
    assert "known launches: 75.0 % of 8, 2 kept" in lines
    assert not any(line.startswith("known hashes") for line in lines)


def test_a_person_is_told_of_sums_that_do_not_hold() -> None:
    assert "ADD UP" not in report(SNAPSHOT)
    wrong = copy.deepcopy(SNAPSHOT)
    wrong["gaps"] = ["event 11: 59 received, but 58"]
    last = report(wrong).splitlines()[-1]
    assert last == "THE COUNTERS DO NOT ADD UP: event 11: 59 received, but 58"


def test_a_person_finds_the_rules_of_sigma_that_hit() -> None:
    lines = [" ".join(line.split()) for line in report(SNAPSHOT).splitlines()]
    at = lines.index("Sigma: 2 rules, 1 hit, 3 events named")
    assert lines[at + 1] == (
        "Sigma: 5 groups of correlations are remembered, 2 forgotten for want of room"
    )
    assert lines[at + 2] == "3 high A"
    asked = copy.deepcopy(SNAPSHOT)
    asked["sigma"] |= {"asked": 512, "us_asked": 8.1}
    assert "events named, 8.1 us an event asked" in report(asked)
    without = copy.deepcopy(SNAPSHOT)
    del without["sigma"]
    assert "Sigma" not in report(without)
    many = copy.deepcopy(SNAPSHOT)
    many["sigma"]["rules"] = [
        {"title": f"T{n}", "id": f"{n}", "level": "low", "hits": n, "last_s": 1.0}
        for n in range(100)
    ]
    text = report(many)
    assert "T99" in text
    assert "T79" not in text
    assert "79 more: -stats json" in text
