# SPDX-License-Identifier: MIT
"""What the service says of itself: each thing once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from sysmonlx.capture.sensor import Missing
from sysmonlx.enrich.registry import ALL_HOOKS
from sysmonlx.service.standing import Standing
from sysmonlx.service.storing import Storing

OVERFLOWS = [each for each in ALL_HOOKS if each.name.endswith("beyond its queue")]


def test_what_several_hooks_lack_is_told_once(tmp_path: Path) -> None:
    missing = [Missing(each, "io_uring_name_overflowed", "no") for each in OVERFLOWS]
    assert len(missing) > 1
    parts: Any = SimpleNamespace(
        capture=SimpleNamespace(missing=missing),
        guard=SimpleNamespace(missing=list),
        health=SimpleNamespace(remarks=list),
        remarks=(),
    )
    options = SimpleNamespace(
        paths=SimpleNamespace(notify_socket=tmp_path / "notify"), refused=""
    )
    standing = Standing(parts, cast("Any", options), cast("Any", None), Storing())
    assert standing.lacking().count(str(missing[0])) == 1
