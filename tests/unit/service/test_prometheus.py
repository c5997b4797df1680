# SPDX-License-Identifier: MIT
"""The counters as Prometheus text: read back by the parser of prometheus_client."""

from __future__ import annotations

import copy
import re

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from support.snapshots import SNAPSHOT

from sysmonlx.service.prometheus import prometheus
from sysmonlx.service.snapshot import Snapshot

#: Units of the naming practices, and what the names of numbers without one end in.
UNITS = ("_seconds", "_bytes", "_ratio")


def metrics_of(snapshot: Snapshot) -> dict[str, Metric]:
    found = [*text_string_to_metric_families(prometheus(snapshot))]
    assert len({each.name for each in found}) == len(found)
    return {each.name: each for each in found}


def values_of(snapshot: Snapshot) -> dict[str, float]:
    """Return the value of each sample by its name and labels."""
    return {
        sample.name + "".join(f" {sample.labels[key]}" for key in sample.labels): (
            sample.value
        )
        for metric in metrics_of(snapshot).values()
        for sample in metric.samples
    }


def test_every_term_of_every_sum_is_read_back() -> None:
    assert values_of(SNAPSHOT) == {
        "sysmonlx_cpu_seconds_total": 0.5,
        "sysmonlx_resident_memory_bytes": 1 << 25,
        "sysmonlx_processes": 7,
        "sysmonlx_ring_fill_ratio": 0.5,
        "sysmonlx_gaps": 0,
        "sysmonlx_records_total file_create seen": 100,
        "sysmonlx_records_total file_create filtered_in_kernel": 20,
        "sysmonlx_records_total file_create left_out": 3,
        "sysmonlx_records_total file_create submitted": 60,
        "sysmonlx_records_total file_create received": 59,
        "sysmonlx_records_total process_fork seen": 2,
        "sysmonlx_records_total process_fork filtered_in_kernel": 0,
        "sysmonlx_records_total process_fork left_out": 0,
        "sysmonlx_records_total process_fork submitted": 2,
        "sysmonlx_records_total process_fork received": 2,
        "sysmonlx_records_pending file_create under_way": 0,
        "sysmonlx_records_pending file_create in_ring": 1,
        "sysmonlx_records_pending process_fork under_way": 0,
        "sysmonlx_records_pending process_fork in_ring": 0,
        "sysmonlx_records_lost_in_kernel_total file_create ring full": 17,
        "sysmonlx_records_lost_in_daemon_total process_fork error: KeyError": 1,
        "sysmonlx_events_total 4 emitted": 1,
        "sysmonlx_events_total 4 filtered": 0,
        "sysmonlx_events_total 11 received": 59,
        "sysmonlx_events_total 11 emitted": 40,
        "sysmonlx_events_total 11 filtered": 10,
        "sysmonlx_events_waiting 11": 2,
        "sysmonlx_records_without_event_total 11 not a regular file": 6,
        "sysmonlx_events_lost_total 11 error: KeyError": 1,
        "sysmonlx_lines_total due": 41,
        "sysmonlx_lines_total delivered": 30,
        "sysmonlx_lines_spooled": 5,
        "sysmonlx_spooled_bytes": 10,
        "sysmonlx_lines_lost_total spool full": 6,
    }


def test_every_metric_has_help_and_type() -> None:
    for name, metric in metrics_of(SNAPSHOT).items():
        assert metric.documentation.endswith("."), name
        assert metric.type in ("counter", "gauge"), name


def test_counters_alone_end_in_total() -> None:
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", prometheus(SNAPSHOT), re.M))
    assert kinds
    for name, kind in kinds.items():
        assert (kind == "counter") == name.endswith("_total"), name


def test_sizes_and_times_name_their_unit() -> None:
    for name in metrics_of(SNAPSHOT):
        if any(word in name for word in ("cpu", "memory", "fill", "spooled_b")):
            assert name.endswith(UNITS), name


def test_samples_of_one_metric_stand_together() -> None:
    """The parser would make two metrics of one whose samples are apart."""
    lines = prometheus(SNAPSHOT).splitlines()
    heads = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    found = [re.split(r"[ {]", line)[0] for line in lines if line[0] != "#"]
    runs = [name for at, name in enumerate(found) if found[at - 1 : at] != [name]]
    assert len(runs) == len({*runs})
    assert {*runs} <= {*heads}


@pytest.mark.parametrize(
    "reason", ['a "quoted" word', "C:\\new", "two\nlines", 'all\\"\n', "ä", "} 1"]
)
def test_label_comes_back_as_it_was(reason: str) -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    snapshot["lines"]["lost"] = {reason: 6}
    (sample,) = metrics_of(snapshot)["sysmonlx_lines_lost"].samples
    assert (sample.labels, sample.value) == ({"reason": reason}, 6)


def test_label_that_is_no_text_breaks_nothing() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    snapshot["lines"]["lost"] = {"\udcff": 6}
    (sample,) = metrics_of(snapshot)["sysmonlx_lines_lost"].samples
    assert sample.labels == {"reason": "?"}
    prometheus(snapshot).encode()


def test_sum_that_does_not_hold_is_a_gap() -> None:
    wrong = copy.deepcopy(SNAPSHOT)
    wrong["gaps"] = ["event 11: 59 received, but 58"]
    assert values_of(wrong)["sysmonlx_gaps"] == 1
