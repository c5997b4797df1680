# SPDX-License-Identifier: MIT
"""The builders of all records, from the modules that have them."""

from __future__ import annotations

from sysmonlx import enrich
from sysmonlx.enrich import Builder
from sysmonlx.enrich_file import FILE_BUILDERS
from sysmonlx.enrich_network import NETWORK_BUILDERS

#: Record name to (event id, builder) pairs.
BUILDERS: dict[str, tuple[tuple[int, Builder], ...]] = {
    **enrich.BUILDERS,
    **FILE_BUILDERS,
    **NETWORK_BUILDERS,
}
