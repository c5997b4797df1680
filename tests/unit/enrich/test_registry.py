# SPDX-License-Identifier: MIT
"""What every builder keeps to: which values are late, and how many there are."""

from __future__ import annotations

import stat
from typing import Any

import pytest
from support.dns_server import answer, question
from support.enrichment import (
    SECOND,
    Paths,
    complete,
    encode,
    make_context,
    make_maker,
    named,
)

from sysmonlx.capture.records import Layouts
from sysmonlx.enrich.context import Context
from sysmonlx.enrich.dns import DNS_HOOKS
from sysmonlx.enrich.registry import ALL_HOOKS, BUILDERS, hooks_for
from sysmonlx.policy import Settings
from sysmonlx.processes.process import Process
from sysmonlx.schema.events import EVENT_BY_ID

PAIRS = [(name, event) for name, pairs in BUILDERS.items() for event, _ in pairs]
WHO = {"boot_ns": 5 * SECOND, "start_boot_ns": SECOND, "tgid": 42, "exec_id": 1}
#: Of each record, what its builder treats in another way than zeroes.
MORE: dict[str, list[dict[str, Any]]] = {
    "process_create": [
        {"image": b"/bin/a", "args": b"a\0", "cwd": b"/", "uid": 1000},
        {"image": b"/\xff", "args": b"&", "flags": "TTY_IS_PTS CWD_TRUNCATED"},
    ],
    "file_create": [
        {"path": b"/a", "created_ns": SECOND},
        {"path": b"/a", "flags": "FILE_IS_NEW"},
        {"path": b"a", "base": b"/b", "flags": "PATH_GIVEN"},
        {"flags": "PATH_UNREADABLE"},
        {"path": b"/\xff", "created_ns": SECOND, "flags": "PATH_TRUNCATED"},
    ],
    "file_delete": [
        {"path": b"/a", "mode": stat.S_IFREG | 0o755},
        {"path": b"a", "base": b"/b", "flags": "PATH_GIVEN"},
    ],
    "process_access": [
        {"target_tgid": 42, "target_start_boot_ns": SECOND, "target_exec_id": 1},
        {"given_pid": 9, "granted_access": 1},
    ],
    "network_connect": [
        {"protocol": 17, "family": 10, "source_port": 53, "initiated": True}
    ],
    "dns_message": [{"is_answer": 1, "data": answer(question("a.test"))}],
    "library_load": [{"path": b"/a.so"}, {"path": b"/\xff", "flags": "PATH_TRUNCATED"}],
    "pipe_create": [
        {"path": b"/a"},
        {"path": b"a", "base": b"/b", "flags": "PATH_GIVEN"},
        {"flags": "PATH_UNREADABLE"},
    ],
    "pipe_connect": [{"path": b"@a\n\xff", "target_tgid": 42}],
    "process_write": [
        {"target_tgid": 42, "target_start_boot_ns": SECOND, "target_exec_id": 1},
        {"given_pid": 9, "address": 1 << 63, "flags": "BY_MEMORY_COPY"},
        {"module": b"/\xff <&\t", "flags": "BY_POKE PATH_TRUNCATED"},
    ],
    "process_tampering": [{"kind": 3}, {"kind": 99}],
    "bpf_program_load": [{"program_type": 99, "name": b"x"}],
}
#: What a record has even at the least.
LEAST = {"network_connect": {"protocol": 6}}
CASES = [
    (name, event_id, more)
    for name, event_id in PAIRS
    for more in [LEAST.get(name, {}), *MORE.get(name, [])]
]


def who(name: str, data: bytes, context: Context) -> Process:
    table = context.processes
    if name == "process_create":
        return table.create(data)
    process = table.acting(data)
    return (
        (table.terminate(data) or process) if name == "process_terminate" else process
    )


@pytest.mark.parametrize(
    "paths", [Paths(), Paths(stat.S_IFREG, 2 * SECOND)], ids=["unborn", "born"]
)
@pytest.mark.parametrize(("name", "event_id", "more"), CASES, ids=str)
def test_values_are_texts_but_for_the_late_ones_before_they_are(
    name: str, event_id: int, more: dict[str, Any], paths: Paths, layouts: Layouts
) -> None:
    """That it is so is asked by `complete`."""
    context = make_context(layouts, paths=paths)
    maker = make_maker(layouts, context, name, event_id)
    data = encode(layouts, name, **WHO | more)
    event = complete(maker, data, who(name, data, context))
    assert event is not None
    values = named(event_id, event[0])
    assert values["RuleName"] == "-"
    assert values["UtcTime"] == "1970-01-01 00:00:05.000"


@pytest.mark.parametrize(("name", "event_id"), PAIRS)
def test_time_is_late_in_all_events_but_the_first(
    name: str, event_id: int, layouts: Layouts
) -> None:
    maker = make_maker(layouts, make_context(layouts), name, event_id)
    fields = [field.name for field in EVENT_BY_ID[event_id].fields]
    assert ("UtcTime" in {fields[at] for at in maker.late}) == (event_id != 1)


@pytest.mark.parametrize(
    ("event_id", "dns_lookup", "is_attached"),
    [(22, False, True), (3, False, False), (3, True, True), (1, True, False)],
)
def test_dns_is_watched_for_its_event_and_for_names_of_hosts(
    event_id: int, dns_lookup: bool, is_attached: bool
) -> None:
    hooks = hooks_for(event_id.__eq__, Settings(dns_lookup=dns_lookup))
    assert ({*DNS_HOOKS} <= {*hooks}) == is_attached
    assert bool({*DNS_HOOKS} & {*hooks}) == is_attached


def test_no_other_record_is_an_event(layouts: Layouts) -> None:
    others = {"process_scan", "process_fork", "cgroup_create"}
    assert layouts.by_name.keys() - BUILDERS.keys() == others
    assert BUILDERS.keys() < layouts.by_name.keys()


def test_each_hook_is_there_once() -> None:
    names = [each.name for each in ALL_HOOKS]
    assert sorted(names) == sorted({*names})
