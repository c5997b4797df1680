# SPDX-License-Identifier: MIT
"""Conditions on names of hosts: what no event can have."""

from __future__ import annotations

import pytest
from support.configurations import document, read

from sysmonlx.config.lint_values import NOTHING, Doubt, Judge
from sysmonlx.policy import Filter, Settings
from sysmonlx.schema.event_types import EventType
from sysmonlx.schema.events import DNS_QUERY, NETWORK_CONNECT

NEVER, ALWAYS, ODD = Doubt


def doubt(
    name: str, condition: str, value: str, *, is_on: bool = True
) -> tuple[Doubt, str] | None:
    event: EventType = DNS_QUERY if name == "QueryName" else NETWORK_CONNECT
    judge = Judge([event], Settings(dns_lookup=is_on), NOTHING)
    return judge.doubt(Filter(name, condition, value))


@pytest.mark.parametrize("name", ["SourceHostname", "DestinationHostname"])
@pytest.mark.parametrize(
    ("condition", "value", "outcome"),
    [
        ("is", "evil.example", NEVER),
        ("end with", ".example", NEVER),
        ("contains any", "a;b", NEVER),
        ("is any", "a;-", ALWAYS),
        ("is", "-", ALWAYS),
        ("is not", "evil.example", ALWAYS),
        ("excludes", "evil", ALWAYS),
        ("excludes", "-", NEVER),
    ],
)
def test_without_lookups_no_host_has_a_name(
    name: str, condition: str, value: str, outcome: Doubt
) -> None:
    why = f"{name} is always - while DnsLookup is off"
    assert doubt(name, condition, value, is_on=False) == (outcome, why)


@pytest.mark.parametrize(
    ("name", "condition", "value", "words"),
    [
        ("DestinationHostname", "is", "a b.example", "shows as \\032"),
        ("QueryName", "contains", "b\xfccher", "shows as \\195\\188"),
        ("QueryName", "end with", "example.", "without their last dot"),
        ("QueryName", "is", "a.example.", "without their last dot"),
        ("DestinationHostname", "end with", "..example", "two dots"),
    ],
)
def test_names_that_no_event_has(
    name: str, condition: str, value: str, words: str
) -> None:
    found = doubt(name, condition, value)
    assert found is not None
    assert (found[0], words in found[1]) == (NEVER, True), found


@pytest.mark.parametrize(
    ("condition", "value", "words"),
    [
        ("is", "192.0.2.1", "stand in DestinationIp"),
        ("is any", "evil.example;2001:db8::1", "stand in DestinationIp"),
        ("is", "localhost", "/etc/hosts"),
        ("is any", "evil.example;mailhost", "/etc/hosts"),
    ],
)
def test_names_that_name_servers_do_not_tell(
    condition: str, value: str, words: str
) -> None:
    found = doubt("DestinationHostname", condition, value)
    assert found is not None
    assert (found[0], words in found[1]) == (ODD, True), found


@pytest.mark.parametrize(
    ("name", "condition", "value"),
    [
        ("DestinationHostname", "is", "evil.example"),
        ("DestinationHostname", "is", "-"),
        ("DestinationHostname", "end with", ".example"),
        ("DestinationHostname", "contains", "mail"),
        ("SourceHostname", "begin with", "192.0.2."),
        ("QueryName", "is", "."),
        ("QueryName", "is", "wpad"),
        ("QueryName", "is", "..localmachine"),
        ("QueryName", "is", "127.0.0.1"),
        ("QueryName", "contains", "\\032"),
        ("QueryName", "contains", "_ldap._tcp"),
    ],
)
def test_names_that_may_be(name: str, condition: str, value: str) -> None:
    assert doubt(name, condition, value) is None


RULE = (
    '<NetworkConnect onmatch="include"><DestinationHostname condition="end with">'
    ".ngrok.io</DestinationHostname></NetworkConnect>"
)


def test_the_advice_is_followed_by_turning_lookups_on() -> None:
    (warning,) = read(document(RULE))[1]
    assert "can never match on Linux: DestinationHostname is always -" in warning.text
    assert read(document(RULE, "<DnsLookup>true</DnsLookup>"))[1] == ()
