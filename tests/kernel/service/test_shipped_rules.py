# SPDX-License-Identifier: MIT
"""Rules that come with the program: each fires by the real action, and by no near miss.

A few of them in `make test`, all of them by `make test-rules`, which also tries them
as names of events that are all reported.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.rule_actions import Done, run_all
from support.running import Event, tree
from support.shipped import (
    RECORDED,
    Values,
    is_hit,
    kept,
    shipped,
    that_name,
    title_in_hits,
    true_parts,
    whole,
)
from support.watch import watching

from sysmonlx.schema.events import EVENT_BY_ID, PRODUCED
from sysmonlx.schema.options import SHIPPED

pytestmark = pytest.mark.kernel

#: Of each event, and the two scenarios: a download run by sudo, and a controller.
A_FEW = {
    *("access_memory_written", "access_secrets_of_login_program"),
    *("dns_tunnel_service", "file_cron_written", "file_downloaded_over_configuration"),
    *("file_log_deleted", "file_preload_list_written", "file_program_downloaded"),
    *("file_accounts_written", "file_system_program_replaced", "file_unit_written"),
    *("network_from_writable_place", "network_of_shell", "raw_disk_opened"),
    *("network_to_usual_controller_port", "process_download_made_runnable"),
    *("process_runs_from_shared_memory", "process_set_user_id_bit"),
    *("process_shell_of_web_server", "process_shell_on_network_device"),
    *("process_sudo_runs_from_writable_place", "process_wget_as_lever"),
    *("process_root_without_way", "process_decoded_text_to_shell"),
    *("correlation_download_run_as_root", "correlation_odd_program_connects"),
}
ALL = os.environ.get("RULES") == "all"
WANTED = sorted(that_name() if ALL else A_FEW)
#: Sysmon's rules for processes alone, or for all that there is.
ELEMENTS = {
    "include": '<ProcessCreate onmatch="exclude"/>',
    "tag": "".join(
        f'<{EVENT_BY_ID[each].tag} onmatch="exclude"/>'
        for each in sorted(PRODUCED - {23})
        if EVENT_BY_ID[each].tag
    ),
}


class Seen:
    """Events of each script."""

    def __init__(self, done: list[Done], events: list[Event]) -> None:
        self.complaints = [each for each in done if each.complaint]
        self._pids = {(each.rule, each.kind): each.pid for each in done}
        self._events = events

    def events(self, name: str, kind: str) -> list[Event]:
        return tree(self._events, self._pids[name, kind])

    def names(self, name: str, kind: str) -> str:
        """Return the names of all hits of a script, a line an event."""
        found = self.events(name, kind)
        return "\n".join(f"{each.get('RuleNames', '')}" for each in found)


@pytest.fixture(scope="module", params=["include", "tag"] if ALL else ["include"])
def seen(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Seen:
    top = tmp_path_factory.mktemp("rules")
    settings = f'<Rules action="{request.param}">{SHIPPED}</Rules>'
    with watching(top / "root", ELEMENTS[request.param], settings) as daemon:
        done = run_all(top, None if ALL else set(WANTED))
        return Seen(done, [*daemon.settle()])


def test_actions_can_be_done(seen: Seen) -> None:
    assert seen.complaints == []


@pytest.mark.parametrize("name", WANTED)
def test_rule_fires_by_the_action_and_not_by_a_near_miss(seen: Seen, name: str) -> None:
    title = title_in_hits(that_name()[name])
    assert title in seen.names(name, "fires")
    assert title not in seen.names(name, "quiet")


@pytest.mark.skipif(not ALL, reason="make test-rules records all of them")
def test_events_are_as_recorded(
    seen: Seen, update_golden: bool, request: pytest.FixtureRequest
) -> None:
    """`--update-golden` records them anew, where all events are reported."""
    if request.node.callspec.params["seen"] != "tag":
        pytest.skip("near misses are not reported in this mode")
    found = {name: _recorded(seen, name) for name in shipped()}
    if update_golden:
        text = json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True)
        Path(RECORDED).write_text(f"{text}\n", "utf-8")
    recorded = json.loads(RECORDED.read_text("utf-8"))
    assert sorted(recorded) == sorted(shipped())
    assert all(each["fires"] and each["quiet"] for each in recorded.values())


def _recorded(seen: Seen, name: str) -> dict[str, Values]:
    """Return an event that the rule hits, and of the others the nearest miss."""
    rule = shipped()[name]
    wanted: dict[str, Callable[[Event], bool]] = {
        "fires": lambda each: is_hit(rule, each),
        "quiet": lambda each: int(each["EventID"]) in rule.event_ids,
    }
    made: dict[str, Values] = {}
    for kind, is_wanted in wanted.items():
        events = [each for each in seen.events(name, kind) if is_wanted(each)]
        assert events, (name, kind)
        best = max(events, key=lambda each: true_parts(rule.expression, whole(each)))
        made[kind] = kept(best)
    return made
