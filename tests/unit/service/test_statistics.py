# SPDX-License-Identifier: MIT
"""The counters as text: all terms of the sums, and those sums that do not hold."""

from __future__ import annotations

import copy
from typing import Any

from sysmonlx.service.statistics import prometheus, report

SNAPSHOT: dict[str, Any] = {
    "uptime_s": 5.0,
    "cpu_s": 0.5,
    "rss_bytes": 1 << 25,
    "processes": 7,
    "ring_fill": 0.5,
    "spooled_bytes": 10,
    "waiting_for_hash": 2,
    "bad_records": 0,
    "left_out": 3,
    "records": {
        "file_create": {
            "seen": 100,
            "filtered_in_kernel": 20,
            "left_out": 3,
            "submitted": 60,
            "lost": {"ring full": 17},
            "under_way": 0,
            "received": 59,
            "in_ring": 1,
            "lost_here": {},
        },
        "process_fork": {
            "seen": 2,
            "filtered_in_kernel": 0,
            "left_out": 0,
            "submitted": 2,
            "lost": {},
            "under_way": 0,
            "received": 2,
            "in_ring": 0,
            "lost_here": {"error: KeyError": 1},
        },
    },
    "events": {
        "4": {"name": "State", "emitted": 1, "filtered": 0, "filtered_in": "-"},
        "11": {
            "name": "FileCreate",
            "record": "file_create",
            "received": 59,
            "emitted": 40,
            "filtered": 10,
            "waiting": 2,
            "no_event": {"not a regular file": 6},
            "lost": {"error: KeyError": 1},
            "filtered_in": "kernel",
        },
    },
    "lines": {"due": 41, "delivered": 30, "spooled": 5, "lost": {"spool full": 6}},
    "sinks": {"lost": {"spool full": 6}, "trouble": ["/x: No space"]},
    "hashes": {"done": 4},
    "shortened": 0,
    "shortened_paths": 0,
    "unknown_values": {"names of users: no answer in time": 2},
    "put_right": {"attached again": 1},
    "missing": [],
    "gaps": [],
}


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


def test_a_person_is_told_of_sums_that_do_not_hold() -> None:
    assert "ADD UP" not in report(SNAPSHOT)
    wrong = copy.deepcopy(SNAPSHOT) | {"gaps": ["event 11: 59 received, but 58"]}
    last = report(wrong).splitlines()[-1]
    assert last == "THE COUNTERS DO NOT ADD UP: event 11: 59 received, but 58"
    assert "sysmonlx_gaps 1" in prometheus(wrong).splitlines()


def test_metrics_have_every_term_of_every_sum() -> None:
    lines = prometheus(SNAPSHOT).splitlines()
    for line in (
        'sysmonlx_records{record="file_create",state="seen"} 100',
        'sysmonlx_records{record="file_create",state="filtered_in_kernel"} 20',
        'sysmonlx_records{record="file_create",state="left_out"} 3',
        'sysmonlx_records{record="file_create",state="submitted"} 60',
        'sysmonlx_records{record="file_create",state="received"} 59',
        'sysmonlx_records{record="file_create",state="in_ring"} 1',
        'sysmonlx_lost{record="file_create",reason="ring full"} 17',
        'sysmonlx_lost_here{record="process_fork",reason="error: KeyError"} 1',
        'sysmonlx_events{event="11",state="received"} 59',
        'sysmonlx_events{event="11",state="waiting"} 2',
        'sysmonlx_no_event{event="11",reason="not a regular file"} 6',
        'sysmonlx_events_lost{event="11",reason="error: KeyError"} 1',
        'sysmonlx_lines{state="due"} 41',
        'sysmonlx_lines_lost{reason="spool full"} 6',
        "sysmonlx_gaps 0",
    ):
        assert line in lines
    assert 'sysmonlx_events{event="4",state="received"}' not in "\n".join(lines)
