# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest
from support.pipeline_bench import Bench

from sysmonlx.capture.records import Layouts


@pytest.fixture
def bench(layouts: Layouts) -> Bench:
    return Bench(layouts)
