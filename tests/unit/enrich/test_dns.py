# SPDX-License-Identifier: MIT
"""Event 22 of a record: what it says of an answer, and of a question without one."""

from __future__ import annotations

import pytest
from support.dns_server import answer, expected, question
from support.enrichment import SECOND, complete, encode, make_context, make_maker, named

from sysmonlx.capture.records import Layouts

NAMES = ["host.a.test", "nx.a.test", "none.a.test", "alias.a.test", "text.a.test"]


def event(layouts: Layouts, content: bytes, is_answer: int) -> dict[str, str]:
    context = make_context(layouts)
    maker = make_maker(layouts, context, "dns_message", 22)
    who = {"tgid": 42, "start_boot_ns": SECOND, "boot_ns": SECOND, "uid": 1000}
    data = encode(layouts, "dns_message", is_answer=is_answer, data=content, **who)
    made = complete(maker, data, context.processes.acting(data))
    assert made is not None
    return named(22, made[0])


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_has_status_and_results(layouts: Layouts, name: str) -> None:
    told = event(layouts, answer(question(name)), 1)
    assert (told["QueryStatus"], told["QueryResults"]) == expected(name)
    assert (told["QueryName"], told["User"], told["ProcessId"]) == (name, "user", "42")


@pytest.mark.parametrize(
    ("content", "name", "status"),
    [
        (question("a.test"), "a.test", "1460"),
        (question("a.test")[:-1], "-", "-"),
        (b"", "-", "-"),
    ],
)
def test_a_question_alone_has_no_results(
    layouts: Layouts, content: bytes, name: str, status: str
) -> None:
    told = event(layouts, content, 0)
    assert (told["QueryName"], told["QueryStatus"]) == (name, status)
    assert told["QueryResults"] == "-"
