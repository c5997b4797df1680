# SPDX-License-Identifier: MIT
"""Both bounds of every setting: what the reader accepts can be run."""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.configurations import document, read

from sysmonlx.hashing.hasher import Hasher
from sysmonlx.hashing.program_opener import ProgramOpener
from sysmonlx.host.procfs import Procfs
from sysmonlx.output.lines import Lines
from sysmonlx.output.render import Renderer
from sysmonlx.output.sinks.kinds import open_sink
from sysmonlx.output.templates import template_of
from sysmonlx.policy import SinkChoice
from sysmonlx.schema.events import EVENT_BY_ID
from sysmonlx.schema.options import SETTINGS, Setting

NEVER = ProgramOpener(Procfs())  # no file is asked for here
BOUNDED = [setting for setting in SETTINGS if setting.kind in ("size", "number")]


def setting_of(setting: Setting, value: int) -> Any:
    """Return what the reader makes of a value, in the policy."""
    own = (
        '<s:Settings xmlns:s="urn:sysmonlx:settings">'
        f"<s:{setting.element}>{value}</s:{setting.element}></s:Settings></Sysmon>"
    )
    policy, _ = read(document("").replace(b"</Sysmon>", own.encode()))
    return getattr(policy.settings, setting.attribute)


def line_limit(limit_bytes: int, _: Path) -> None:
    for form in ("xml", "json"):
        renderer = Renderer(form, "host", 1, 1, 0, limit_bytes)
        for event in (EVENT_BY_ID[1], EVENT_BY_ID[255]):
            values = ["-"] * len(event.fields)
            for at in template_of(event, form, ("", 0, 0, 0)).foreign:
                values[at] = "é" * (1 << 19)
            line = renderer.line(event.id, values, 1, 1)
            assert limit_bytes - 600 < len(line) <= limit_bytes


def hash_wait(wait_ms: int, folder: Path) -> None:
    hasher: Hasher[str] = Hasher(NEVER, ["SHA256"], wait_s=wait_ms / 1000)
    hasher.close()
    assert wait_ms / 1000 < threading.TIMEOUT_MAX


def hash_size_limit(limit_bytes: int, folder: Path) -> None:
    hasher: Hasher[str] = Hasher(NEVER, ["MD5"], size_limit=limit_bytes)
    hasher.close()
    assert 0 <= limit_bytes < 1 << 63  # off_t


def hash_share(percent: int, _: Path) -> None:
    hasher: Hasher[str] = Hasher(NEVER, ["SHA1"])
    hasher.set_share(percent)
    hasher.close()


def ring_size(size_bytes: int, _: Path) -> None:
    # BPF_MAP_TYPE_RINGBUF: a power of two, whole pages, max_entries is 32 bits wide.
    assert size_bytes & (size_bytes - 1) == 0
    assert size_bytes % max(mmap.PAGESIZE, 64 << 10) == 0
    assert size_bytes < 1 << 32


def spool_limit(limit_bytes: int, folder: Path) -> None:
    sink = open_sink(SinkChoice("file", "", str(folder / "log")), limit_bytes)
    sink.write_framed(Lines.of([b"one", b"two"]))
    sink.flush()
    assert (sink.lost, (folder / "log").read_bytes()) == (0, b"one\ntwo\n")
    sink.close(1)
    absent = open_sink(SinkChoice("syslog", "", str(folder / "absent")), limit_bytes)
    absent.write([b"one"], int(time.time()))
    assert absent.spooled_bytes <= limit_bytes
    absent.close(0)
    assert absent.lost == 1


def read_interval(interval_ms: int, _: Path) -> None:
    # A hasty record waits 10 ms, and the chores of a second wait for a look.
    assert 10 <= interval_ms <= 1000


def interval(interval_s: int, _: Path) -> None:
    assert 0 <= interval_s * 1_000_000_000 < 1 << 64


def mass_change_files(number: int, _: Path) -> None:
    assert 0 < number < 1 << 32  # 0 is off in the kernel, which has 32 bits for it


def budget(number: int, _: Path) -> None:
    assert number >= 0  # 0 is off; nothing else reads the number


NEEDS: dict[str, Callable[[int, Path], None]] = {
    "LineLimit": line_limit,
    "HashWait": hash_wait,
    "HashSizeLimit": hash_size_limit,
    "HashShare": hash_share,
    "RingSize": ring_size,
    "ReadInterval": read_interval,
    "SpoolLimit": spool_limit,
    "UdpInterval": interval,
    "PipeInterval": interval,
    "MassChangeFiles": mass_change_files,
    "Budget": budget,
}


def test_each_bounded_setting_is_tried() -> None:
    assert {setting.element for setting in BOUNDED} == NEEDS.keys()


@pytest.mark.parametrize("setting", BOUNDED, ids=lambda setting: setting.element)
def test_both_bounds_are_accepted_and_can_be_run(
    setting: Setting, tmp_path: Path
) -> None:
    for bound in (setting.low, setting.high):
        value = setting_of(setting, bound)
        assert value == bound
        NEEDS[setting.element](value, tmp_path)
        for path in tmp_path.iterdir():
            path.unlink()
