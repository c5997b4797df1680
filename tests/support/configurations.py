# SPDX-License-Identifier: MIT
"""Configurations of a few words, and what reading them gives."""

from __future__ import annotations

import pytest

from sysmonlx.config.command_line import CommandLineOptions
from sysmonlx.config.reader import read_policy
from sysmonlx.errors import ConfigError
from sysmonlx.finding import Finding
from sysmonlx.policy import Element, Filter, Policy

EMPTY = b'<Sysmon schemaversion="4.90"><EventFiltering/></Sysmon>'


def document(event_filtering: str, options: str = "", version: str = "4.90") -> bytes:
    return (
        f'<Sysmon schemaversion="{version}">{options}'
        f"<EventFiltering>{event_filtering}</EventFiltering></Sysmon>"
    ).encode()


def read(
    data: bytes | str,
    *,
    lax: bool = False,
    switches: dict[str, str | None] | None = None,
) -> tuple[Policy, tuple[Finding, ...]]:
    raw = data.encode() if isinstance(data, str) else data
    line = CommandLineOptions(switches or {})
    return read_policy(raw, "FILE", lax=lax, command_line=line)


def refusal(data: bytes | str, *, lax: bool = False) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(data, lax=lax)
    assert any(finding.fatal for finding in caught.value.findings)
    return caught.value


def elements(event_filtering: str, **more: str) -> tuple[Element, ...]:
    return read(document(event_filtering, **more))[0].ruleset.elements


def texts(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.text for finding in findings]


def value_of(inner: str) -> str:
    (element,) = elements(
        f'<ProcessCreate onmatch="include"><Image>{inner}</Image></ProcessCreate>'
    )
    (item,) = element.items
    assert isinstance(item, Filter)
    return item.value
