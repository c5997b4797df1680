# SPDX-License-Identifier: MIT
from __future__ import annotations

from pathlib import Path

import pytest

from sysmonlx.output.sinks.kinds import OPENERS, open_sink
from sysmonlx.policy import SinkChoice
from sysmonlx.schema.options import SINK_KINDS


def test_every_kind_of_the_schema_can_be_opened() -> None:
    assert set(OPENERS) == set(SINK_KINDS)


@pytest.mark.parametrize("kind", SINK_KINDS)
def test_absent_destination_is_no_error(kind: str, tmp_path: Path) -> None:
    sink = open_sink(
        SinkChoice(kind, "", str(tmp_path / "absent/destination")), 1 << 20
    )
    assert bool(sink.trouble) == (kind != "stdout")
    assert (sink.delivered, sink.lost, sink.spooled) == (0, 0, 0)
    sink.close(0)
