# SPDX-License-Identifier: MIT
from __future__ import annotations

import json

from sysmonlx.selftest.report import as_json, as_text
from sysmonlx.selftest.run import Result
from sysmonlx.selftest.verdict import Outcome, Verdict

RESULT = Result(
    (
        Outcome(1, Verdict.SEEN),
        Outcome(3, Verdict.SEEN, "TCP connected"),
        Outcome(3, Verdict.NOT_SEEN, "UDP sent", ("off its hook: udp_sent",)),
        Outcome(5, Verdict.WRONG, why=('User is "-", not "root"', "Image is missing")),
        Outcome(11, Verdict.SEEN, "made"),
        Outcome(11, Verdict.SEEN, "renamed"),
        Outcome(22, Verdict.OFF, why=("no rule",)),
        Outcome(255, Verdict.NOT_TRIED, why=("not ours",)),
    ),
    ("udp_sent",),
    0.25,
)


def test_each_event_type_has_a_line() -> None:
    assert as_text(RESULT, ["syslog: nobody reads"]) == (
        "  1 ProcessCreate        seen\n"
        "  3 NetworkConnect       not seen  UDP sent: off its hook: udp_sent\n"
        '  5 ProcessTerminate     wrong     User is "-", not "root"; Image is missing\n'
        " 11 FileCreate           seen      made, renamed\n"
        " 22 DnsQuery             off       no rule\n"
        "255 Error                not tried not ours\n"
        "udp_sent is off its hook\n"
        "trouble: syslog: nobody reads\n"
        "\n"
        "2 seen, 1 wrong, 1 not seen, 1 not tried, 1 off, in 0.2 s.\n"
    )


def test_programs_get_every_outcome() -> None:
    report = json.loads(as_json(RESULT, []))
    assert (report["ok"], report["off_hooks"]) == (False, ["udp_sent"])
    assert [each["verdict"] for each in report["outcomes"]] == [
        *("seen", "seen", "not seen", "wrong", "seen", "seen", "off", "not tried")
    ]
    assert report["outcomes"][2] == {
        "event_id": 3,
        "event": "NetworkConnect",
        "way": "UDP sent",
        "verdict": "not seen",
        "why": ["off its hook: udp_sent"],
        "unchecked": [],
    }


def test_what_is_off_or_not_tried_is_no_failure() -> None:
    outcomes = [Outcome(22, Verdict.OFF), Outcome(255, Verdict.NOT_TRIED)]
    good = Result((Outcome(1, Verdict.SEEN), *outcomes), (), 0.1)
    assert good.is_good
    assert json.loads(as_json(good, []))["ok"]
    assert not json.loads(as_json(good, ["a full disk"]))["ok"]
    assert not Result(good.outcomes, ("dns_sent",), 0.1).is_good
    assert not Result(tuple(outcomes), (), 0.1).is_good  # nothing was seen
