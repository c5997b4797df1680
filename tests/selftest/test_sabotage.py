# SPDX-License-Identifier: MIT
"""Each program is taken off its hook in turn, and the self-test names it.

Events prove most programs: those are not seen, or wrong. The others serve ways that a
self-test does not go, or are one of two that see the same; the list of programs off
their hooks names them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from support.running import REPOSITORY, Daemon
from support.self_testing import NOTHING, self_test

from sysmonlx.capture.hooks import PROCESS_HOOKS
from sysmonlx.enrich.registry import ALL_HOOKS
from sysmonlx.schema.events import EVENT_BY_ID

pytestmark = pytest.mark.kernel

#: With 3, of connections accepted; as far as this version reports them.
SYSTEM_CALLS = {
    event_id
    for event_id in (2, 3, 7, 8, 9, 10, 11, 15, 17, 18, 23, 26)
    if EVENT_BY_ID[event_id].produced
}

#: Events that miss a program, by its name.
MISSED_BY: dict[str, set[int]] = {
    "process_create": {1, 25},
    "process_terminate": {5},
    "process_terminate_by_live": {5},
    "syscall_exit": SYSTEM_CALLS,
    "tcp_connect": {3},
    "tcp_connect_by_address": {3},
    "tcp_accept_grafted": {3},
    "udp_sent": {3},
    "udp_sent_of_any": {3},
    "udp_arrived": {3},
    "udp_received": {3},
    "udp_received_v4": {3},
    "udp_received_datagram": {3},
    "times_setting": {2},
    "dns_sent": {22},
    "dns_arrived": {22},
}
#: Events that may miss a program. A process whose fork was not told is found by a scan,
#: maybe before its command line is asked for. Which tracepoint of ctime fires when a
#: time is set depends on the clock and the file system. perf tells of eBPF programs,
#: too, but maybe when the self-test does not look any more.
MAY_MISS: dict[str, set[int]] = {
    "process_fork": {1},
    "syscall_exit": {100},
    "ctime_set": {2},
    "ctime_exchanged": {2},
    "ctime_kept": {2},
}


class LosingDaemon(Daemon):
    """A daemon that is told which program to lose."""

    def command(self, *words: str) -> list[str]:
        program = REPOSITORY / "tests" / "selftest" / "losing_daemon.py"
        return [sys.executable, "-P", os.fspath(program), *words]


@pytest.fixture(scope="module")
def losing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LosingDaemon]:
    with LosingDaemon(tmp_path_factory.mktemp("root"), NOTHING, "", "") as made:
        yield made


PROGRAMS = sorted(
    {
        program
        for hook in (*PROCESS_HOOKS, *ALL_HOOKS)
        for group in hook.alternatives
        for program in group
    }
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_off_its_hook_is_named(losing: LosingDaemon, program: str) -> None:
    attached = losing.request(do="lose", program="")["attached"]
    if program not in attached:
        pytest.skip("this kernel does not use it, or no event wants it")
    losing.request(do="lose", program=program)
    result = self_test(losing)
    bad = {
        each.event_id
        for each in result.outcomes
        if each.verdict.value in ("not seen", "wrong")
    }
    surely = MISSED_BY.get(program, set())
    assert surely <= bad <= surely | MAY_MISS.get(program, set())
    assert result.off == (program,)
    assert not result.is_good


def test_daemon_that_has_all_again_is_good(losing: LosingDaemon) -> None:
    losing.request(do="lose", program="")
    assert self_test(losing).is_good
