# SPDX-License-Identifier: MIT
"""Counters of a daemon as `-stats json` shows them, with something lost everywhere."""

from __future__ import annotations

from sysmonlx.service.snapshot import Snapshot

SNAPSHOT: Snapshot = {
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
    "caches": {
        "launches": {"hits": 6, "misses": 2, "kept": 2},
        "hashes": {"hits": 0, "misses": 0, "kept": 0},
    },
    "sigma": {
        "rules": [
            {"title": "A", "id": "1", "level": "high", "hits": 3, "last_s": 7.5},
            {"title": "B", "id": "2", "level": "low", "hits": 0, "last_s": 0.0},
        ],
        "correlations": {"groups": 5, "forgotten": 2, "errors": 0},
        "events_named": 3,
        "errors": 0,
    },
    "programs": {},
    "attached": [],
    "threads_aside": 0,
    "shortened": 0,
    "shortened_paths": 0,
    "unproved_names": 0,
    "unproven_requests": 0,
    "unknown_values": {"names of users: no answer in time": 2},
    "put_right": {"attached again": 1},
    "missing": [],
    "gaps": [],
}
