# SPDX-License-Identifier: MIT
from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.dns_server import question
from support.varlink_server import call

from sysmonlx.enrich.dns_carriers import Carrier, read_carried

RECORD = Path(__file__).parents[3] / "ebpf" / "record.h"


def test_carriers_are_those_of_the_kernel() -> None:
    (body,) = re.findall(r"enum dns_carrier \{(.*?)\};", RECORD.read_text(), re.DOTALL)
    assert re.findall(r"DNS_BY_(\w+)", body) == [each.name for each in Carrier]
    assert [*Carrier] == [0, 1, 2]


@pytest.mark.parametrize("carrier", [Carrier.UDP, Carrier.TCP])
def test_messages_of_dns_are_read_as_such(carrier: Carrier) -> None:
    assert read_carried(carrier, question("a.test")).name == "a.test"
    assert read_carried(carrier, call(name="a.test")).name != "a.test"


def test_calls_are_read_as_such() -> None:
    assert read_carried(Carrier.CALL, call(name="a.test")).name == "a.test"
    for content in (question("a.test"), b'{"method":"org.varlink.service.GetInfo"}'):
        unread = read_carried(Carrier.CALL, content)
        assert (unread.name, unread.status, unread.is_whole) == ("-", "-", False)
