# SPDX-License-Identifier: MIT
from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sysmonlx.config.reader import read_policy
from sysmonlx.errors import ConfigError

sys.path.insert(0, str(Path(__file__).parent))

from fuzz import fuzz_config


def test_no_input_breaks_the_reader() -> None:
    valid = fuzz_config.run(5000, seed=20)
    assert 0 < valid < 5000


def in_rules(rules: str) -> bytes:
    return (
        '<Sysmon schemaversion="4.90"><EventFiltering><ProcessCreate'
        f' onmatch="include">{rules}</ProcessCreate></EventFiltering></Sysmon>'
    ).encode()


ATTRIBUTES = " ".join(f'a{n}=""' for n in range(79000))


@pytest.mark.parametrize(
    ("data", "is_valid"),
    [
        (in_rules("<Image>/a</Image>" * 39000), True),
        (in_rules('<Image name="n">\\a</Image>' * 39000), True),
        (in_rules("<Imagee>/a</Imagee>" * 39000), False),
        (in_rules('<Image condition="bad">/a</Image>' * 39000), False),
        (in_rules("".join(f'<I{n} x="">\\</I{n}>' for n in range(39000))), False),
        (in_rules("<!-- c -->x" * 350000), True),
        (in_rules(f"<Image>{'&amp;' * 800000}</Image>"), True),
        (in_rules(f"<Image {ATTRIBUTES}/>"), True),
        (in_rules("<FileCreate onmatch='exclude'/>" * 39000), False),
        (in_rules("</ProcessCreate><ProcessCreate onmatch='x'>" * 39000), True),
        (b"<a>" * 1000000, False),
        (b"<" * 4000000, False),
        (b"<a " + b" " * 4000000, False),
        (b"</a>" * 1000000, False),
        (b"<!DOCTYPE " + b"<" * 4000000, False),
        (b"<a b='" * 600000, False),
        (in_rules("<Image>" + ";" * 3000000 + "</Image>"), True),
    ],
    ids=map(str, range(17)),
)
def test_largest_files_are_read_within_a_second(data: bytes, is_valid: bool) -> None:
    """On a slow or shared machine: within as many seconds as it takes longer to count.

    All but a few take half of that.
    """
    assert fuzz_config.try_one(data, lax=False) is is_valid
    tries = ((time_of(count), time_of(lambda: read(data))) for _ in range(5))
    limit_s = fuzz_config.LIMIT_S
    assert any(took < limit_s * max(1, unit / COUNT_S) for unit, took in tries)


def time_of(act: Callable[[], object]) -> float:
    start = time.process_time()
    act()
    return time.process_time() - start


#: What `count` takes on the machine where a second is meant, when it is idle.
COUNT_S = 0.05


def count() -> int:
    return sum(number & 1 for number in range(1_000_000))


def read(data: bytes) -> None:
    with contextlib.suppress(ConfigError):
        read_policy(data, "large.xml")
