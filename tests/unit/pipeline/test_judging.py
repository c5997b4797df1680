# SPDX-License-Identifier: MIT
from __future__ import annotations

import stat
from typing import Any

from support.enrichment import SECOND
from support.pipeline_bench import ALL_FILES, AT_3_S, Bench, element, file_id, include

from sysmonlx.policy import Element, Filter, Ruleset
from sysmonlx.rules.compiler import compile_rules
from sysmonlx.schema.events import EVENT_BY_ID, PRODUCED


def test_rule_on_the_time_of_a_file_is_asked_of_its_text(bench: Bench) -> None:
    bench.use(include("FileCreate", 11, AT_3_S))
    bench.file(10, b"/early", second=2, created_ns=SECOND)
    bench.file(10, b"/then", second=3, created_ns=SECOND)
    assert bench.times == ["1970-01-01 00:00:03.000"]
    assert bench.rules == ["then"]
    assert bench.pipeline.filtered[11] == 1


def test_rule_on_the_birth_of_a_file_is_asked_of_its_text(bench: Bench) -> None:
    birth = Filter("CreationUtcTime", "is", "1970-01-01 00:00:07.000")
    bench.use(include("FileCreate", 11, birth))
    bench.file(10, b"/known", created_ns=7 * SECOND)
    bench.file(10, b"/other", created_ns=6 * SECOND)
    bench.paths.answer = (stat.S_IFREG, 7 * SECOND)
    bench.file(10, b"/looked up")
    bench.paths.answer = (stat.S_IFDIR, 7 * SECOND)
    bench.file(10, b"/no file")
    assert [event_id for event_id, *_ in bench.events] == [11, 11]
    assert [asked[-1] for asked in bench.paths.asked] == [b"/looked up", b"/no file"]


def test_rule_on_the_time_of_an_end_is_asked_of_its_text(bench: Bench) -> None:
    bench.use(include("ProcessCreate", 1), include("ProcessTerminate", 5, AT_3_S))
    for tgid, second in ((10, 2), (11, 3)):
        bench.exec(tgid, f"/{tgid}")
        bench.exit(tgid, second=second)
    assert bench.events == [(5, "/11", "")]
    assert bench.times == ["1970-01-01 00:00:03.000"]


def test_rule_on_the_time_of_a_start_needs_no_hash(bench: Bench) -> None:
    bench.use(include("ProcessCreate", 1, AT_3_S))
    bench.exec(10, "/a")
    assert (bench.events, bench.hasher.asked) == ([], [])
    bench.put("process_create", 11, 1, 3, image=b"/b", file_inode=6)
    assert [asked[1] for asked in bench.hasher.asked] == [file_id(6)]
    bench.hasher.answer(0, "SHA256=6")
    bench.pipeline.take_hashes()
    assert bench.events == [(1, "/b", "SHA256=6")]
    assert bench.times == ["1970-01-01 00:00:03.000"]


def test_rules_on_time_and_hashes_wait_for_the_hash(bench: Bench) -> None:
    both = (AT_3_S, Filter("Hashes", "contains", "=6"))
    bench.use(Element("ProcessCreate", (1,), "include", "and", both, bound_id=1))
    for tgid, second in ((10, 2), (11, 3)):
        image = {"image": b"/%d" % tgid, "file_inode": 6}
        bench.put("process_create", tgid, 1, second, **image)
    assert (bench.events, len(bench.hasher.asked)) == ([], 2)
    for number in range(2):
        bench.hasher.answer(number, "SHA256=6")
    bench.pipeline.take_hashes()
    assert bench.events == [(1, "/11", "SHA256=6")]
    assert bench.pipeline.filtered[1] == 1


def test_rule_that_asks_the_name_of_a_rule_sees_texts_alone(bench: Bench) -> None:
    bench.use(include("FileCreate", 11, Filter("RuleName", "is", "-"), AT_3_S))
    bench.file(10, b"/then", second=3, created_ns=SECOND)
    assert len(bench.events) == 1


def handlers_of(bench: Bench, *elements: Element) -> dict[str, str]:
    """Return the names of the functions that handle records, by record name."""
    rules = compile_rules(Ruleset("4.90", elements))
    handlers = bench.pipeline.prepare(rules).handlers
    names: dict[str, str] = {}
    for record, number in bench.layouts.number.items():
        handler: Any = handlers[number]
        names[record] = getattr(handler, "func", handler).__qualname__
    return names


def test_each_record_has_the_handler_that_the_table_tells(bench: Bench) -> None:
    """The table is at the top of `pipeline.handlers`."""
    of_all = (
        element(EVENT_BY_ID[n].tag or "", n, "exclude") for n in PRODUCED - {4, 16}
    )
    found = handlers_of(bench, *of_all)
    made = {name: how.split(".")[1] for name, how in found.items() if ".<" in how}
    assert made.pop("process_create") == "_creating"
    assert made.pop("cgroup_create") == "grouping"
    assert made.pop("library_load") == "mapping"
    assert made.pop("module_load") == "loading"
    assert made.pop("dns_message") == "handler"
    assert made.pop("file_delete") == "in_turn"
    assert set(made.values()) == {"_acting"}
    assert found.keys() - made.keys() >= {"process_fork", "process_scan"}


def test_events_that_no_rule_wants_leave_the_table_right(bench: Bench) -> None:
    found = handlers_of(
        bench, include("ProcessCreate", 1), include("ProcessTerminate", 5)
    )
    assert found["process_create"] == "Handlers._create_unseen"
    assert found["process_terminate"] == "ProcessTable.terminate"
    assert found["file_create"] == "ProcessTable.acting"
    assert found["process_fork"] == "ProcessTable.fork"
    by_hash = include("ProcessCreate", 1, Filter("Hashes", "contains", "1"))
    assert handlers_of(bench, by_hash)["process_create"] == "Handlers._create_by_hash"


def test_what_was_prepared_is_not_in_force(bench: Bench) -> None:
    bench.pipeline.prepare(compile_rules(Ruleset("4.90", (ALL_FILES,))))
    bench.file(10, b"/file", created_ns=SECOND)
    assert bench.events == []
