# SPDX-License-Identifier: MIT
"""Random bytes and mutated configurations through the reader.

`python tests/fuzz/fuzz_config.py [COUNT [SEED]]` tries COUNT inputs (100,000) and says
which one failed; the same seed gives the same inputs. Each must yield a policy or a
ConfigError, within a second and below 100 MB above the start.
"""

from __future__ import annotations

import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from sysmonlx.cli.listing import listing
from sysmonlx.config.reader import accepted_text, read_policy, refused_text
from sysmonlx.config.stored_policy import policy_of
from sysmonlx.errors import ConfigError
from sysmonlx.schema.conditions import CONDITIONS
from sysmonlx.schema.events import EVENTS
from sysmonlx.schema.options import OPTIONS, SETTINGS

ROOT = Path(__file__).parents[2]
LIMIT_S = 1.0
LIMIT_MB = 100
_PIECES = [
    *(f"<{event.tag} onmatch='include'>".encode() for event in EVENTS if event.tag),
    *(f"</{event.tag}>".encode() for event in EVENTS if event.tag),
    *(f"<{option.name}>".encode() for option in OPTIONS),
    *(
        f"<sx:{setting.element}>1</sx:{setting.element}>".encode()
        for setting in SETTINGS
    ),
    *(f' condition="{name}"'.encode() for name in CONDITIONS),
    b"<Rule>",
    b"</Rule>",
    b'<RuleGroup groupRelation="or">',
    b"<!--",
    b"-->",
    b"<![CDATA[",
    b"]]>",
    b"<!DOCTYPE a [<!ENTITY x 'y'>]>",
    b"&x;",
    b"&#0;",
    b"&#xD800;",
    b"<?xml version='1.0' encoding='ISO-8859-1'?>",
    b"<HashAlgorithms>sha1,,md5</HashAlgorithms>",
    b"<FieldSizes>Image:1</FieldSizes>",
    b"<NetworkConnect>a,b</NetworkConnect>",
    b'schemaversion="',
    b"\xff\xfe",
    b"\0",
    b"\xc3(",
    b"'",
    b'"',
    b"<",
    b">",
    b"/",
    b"&",
    b" " * 2100,
]


def seeds() -> list[bytes]:
    """Return the configurations to start from."""
    small = sorted((ROOT / "tests/data/listings").glob("*.xml"))
    texts = [path.read_bytes() for path in small]
    empty = b'<Sysmon schemaversion="4.90"><EventFiltering/></Sysmon>'
    texts += [empty, (ROOT / "config_schema/default.xml").read_bytes()]
    return texts + [text.decode().encode("utf-16-le") for text in texts[:3]]


def inputs(count: int, seed: int) -> Iterator[bytes]:
    """Yield random inputs: a third noise, the others mutated configurations."""
    chance = random.Random(seed)
    start = seeds()
    for number in range(count):
        if number % 3 == 0:
            yield _noise(chance)
        else:
            yield _mutated(chance, chance.choice(start))


def _noise(chance: random.Random) -> bytes:
    if chance.random() < 0.5:
        return chance.randbytes(chance.randrange(200))
    return b"".join(chance.choices(_PIECES, k=chance.randrange(1, 30)))


def _mutated(chance: random.Random, text: bytes) -> bytes:
    data = bytearray(text)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(data) + 1)
        until = min(len(data), at + chance.randrange(1, 40))
        kind = chance.randrange(4)
        if kind == 0:
            data[at:at] = chance.choice(_PIECES)
        elif kind == 1:
            del data[at:until]
        elif kind == 2:
            data[at:at] = data[at:until] * chance.randrange(1, 4)
        else:
            data[at:until] = chance.randbytes(until - at)
    return bytes(data)


def try_one(data: bytes, *, lax: bool) -> bool:
    """Return whether the input is a valid configuration, used as the program would."""
    refused = None
    try:
        policy, warnings = read_policy(data, "fuzz.xml", lax=lax)
    except ConfigError as error:
        refused = error
    if refused:
        assert any(finding.fatal for finding in refused.findings)
        assert refused_text(refused)
        return False
    assert not any(finding.fatal for finding in warnings)
    assert accepted_text(policy, warnings).encode("utf-8", "surrogateescape")
    # Packs of rules are read afterwards.
    assert policy_of(policy.to_json(), is_whole=False) == policy
    assert listing(policy).encode("utf-8", "surrogateescape")
    return True


def run(count: int, seed: int) -> int:
    """Try `count` inputs; return how many were valid configurations.

    Raises:
        AssertionError: one took too long, or all together too much memory.
    """
    valid = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number, data in enumerate(inputs(count, seed)):
        start = time.process_time()
        try:
            valid += try_one(data, lax=number % 2 == 0)
        except Exception as error:
            raise AssertionError(f"seed {seed}, input {number}: {data!r}") from error
        assert time.process_time() - start < LIMIT_S, (seed, number)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < LIMIT_MB * 1024, f"{grown} KiB more"
    return valid


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    print(f"{run(wanted, first)} of {wanted} inputs were valid, none failed")
