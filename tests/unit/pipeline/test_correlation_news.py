# SPDX-License-Identifier: MIT
from __future__ import annotations

from support.correlations import SECOND, Happening, Process, form

from sysmonlx.pipeline.correlation_news import INTERVAL_S, CorrelationNews
from sysmonlx.rules.sigma.correlator import Correlator
from sysmonlx.rules.sigma.groups import GROUPS_LIMIT

MINUTE = int(INTERVAL_S) * SECOND


def flood(correlator: Correlator, count: int, second: int = 1) -> None:
    for number in range(count):
        each = Happening(second, Process(("p",), 1000), frozenset({0}), f"{number}")
        correlator.take(each.links(), each.deed())


def test_what_had_no_room_is_told_once_a_minute() -> None:
    news, correlator = CorrelationNews(), Correlator([form(2, 600)])
    assert [*news.texts(correlator, SECOND)] == []
    flood(correlator, GROUPS_LIMIT + 5)
    assert [*news.texts(correlator, 2 * SECOND)] == []
    (text,) = news.texts(correlator, MINUTE + SECOND)
    assert "Correlation 'title' has no room: 5 unfinished sequences" in text
    assert "the last one of user 1000" in text
    assert [*news.texts(correlator, 3 * MINUTE)] == []


def test_groups_expire_where_no_event_comes() -> None:
    news, correlator = CorrelationNews(), Correlator([form(2, 10)])
    flood(correlator, 3)
    assert [*news.texts(correlator, 2 * MINUTE)] == []
    assert correlator.groups == 0


def test_what_ends_with_a_reload_is_told_at_once() -> None:
    news, before = CorrelationNews(), Correlator([form(2, 600)])
    assert [*news.texts(before, SECOND)] == []
    flood(before, 3)
    after = Correlator()
    after.go_on_from(before)
    (text,) = news.texts(after, SECOND)
    assert "Correlation 'title' is another or gone: 3 unfinished sequences" in text
    assert [*news.texts(after, SECOND)] == []


def test_what_was_not_asked_again_is_told_with_its_user() -> None:
    news, correlator = CorrelationNews(), Correlator([form(2, 600)])
    assert [*news.texts(correlator, SECOND)] == []
    correlator.unasked, correlator.unasked_payer = 3, 1000
    (text,) = news.texts(correlator, MINUTE + SECOND)
    assert "3 events that waited are not asked again" in text
    assert "the last one of user 1000" in text
    assert [*news.texts(correlator, 3 * MINUTE)] == []
