# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from sysmonlx.config.child import read_data
from sysmonlx.config.command_line import CommandLineOptions
from sysmonlx.config.sink_values import sink_value
from sysmonlx.config.stored_policy import policy_of
from sysmonlx.policy import Policy, Rotation, Settings, SinkChoice

HEAD = (
    '<Sysmon schemaversion="4.90"><EventFiltering/>'
    '<sx:Settings xmlns:sx="urn:sysmonlx:settings">'
)


def test_everything_that_a_file_may_have() -> None:
    words = {
        **{"kind": "file", "form": "json", "group": "adm", "prefix": "syslog"},
        **{"size": "100M", "every": "12h", "keep": "30", "compress": "gzip"},
    }
    rotation = Rotation(100 << 20, 43_200, 30, compresses=True)
    found = sink_value(words, " /var/log/x ")
    assert found == SinkChoice("file", "json", "/var/log/x", "adm", "syslog", rotation)


def test_what_is_not_said_has_its_default() -> None:
    assert sink_value({"kind": "file"}, "/x") == SinkChoice("file", "xml", "/x")
    sized = sink_value({"kind": "file", "every": "1d"}, "/x")
    assert sized.rotation == Rotation(0, 86_400, 7)


def test_place_of_a_socket_depends_on_who_may_read() -> None:
    assert SinkChoice("socket").place == "/run/sysmonlx/events"
    assert SinkChoice("socket", group="adm").place == "/run/sysmonlx-events/events"
    assert SinkChoice("socket", target="/x", group="adm").place == "/x"


@pytest.mark.parametrize(
    ("attributes", "advice"),
    [
        ('kind="sockets"', "kind must be one of syslog"),
        ('kind="file" grup="adm"', "grup is no attribute of it: kind"),
        ('kind="syslog" group="adm"', "a syslog sink has no group"),
        ('kind="socket" size="1M"', "a socket sink has no size"),
        ('kind="socket" group="adm,wheel"', "the number of one group"),
        ('kind="file" prefix="json"', "prefix must be one of syslog"),
        ('kind="file" size="1"', "a number of bytes from 65536"),
        ('kind="file" size="2048G"', "a number of bytes from 65536"),
        ('kind="file" size="-1M"', "a number of bytes from 65536"),
        ('kind="file" every="1"', "30m, 12h or 1d"),
        ('kind="file" every="0d"', "30m, 12h or 1d"),
        ('kind="file" every="9999d"', "30m, 12h or 1d"),
        ('kind="file" every="1d" keep="0"', "from 1 to 999"),
        ('kind="file" every="1d" keep="many"', "from 1 to 999"),
        ('kind="file" keep="3"', "keep needs size or every"),
        ('kind="file" compress="gzip"', "compress needs size or every"),
        ('kind="file" every="1d" compress="xz"', "compress must be one of gzip"),
    ],
)
def test_what_is_typed_wrong_says_what_is_allowed(attributes: str, advice: str) -> None:
    text = f"{HEAD}<sx:Sink {attributes}>/x</sx:Sink></sx:Settings></Sysmon>"
    found = read_data(text.encode(), "x.xml", CommandLineOptions())
    assert found.policy is None
    assert advice in found.text


def test_one_socket_has_one_form() -> None:
    both = '<sx:Sink kind="socket"/><sx:Sink kind="socket" form="json" hits="only"/>'
    text = f"{HEAD}{both}</sx:Settings></Sysmon>"
    found = read_data(text.encode(), "x.xml", CommandLineOptions())
    assert found.policy is None
    assert "/run/sysmonlx/events is a sink already" in found.text


def test_stored_policy_brings_all_of_it_back() -> None:
    rotation = Rotation(1 << 20, 3600, 3, compresses=True)
    sinks = (
        SinkChoice("file", "ecs", "/x", "adm", "syslog", rotation),
        SinkChoice("socket", group="4"),
    )
    policy = Policy(settings=Settings(sinks=sinks))
    assert policy_of(policy.to_json()) == policy
