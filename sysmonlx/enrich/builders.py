# SPDX-License-Identifier: MIT
"""The builders of all records, from the modules that have them."""

from __future__ import annotations

from sysmonlx.enrich import process
from sysmonlx.enrich.file import FILE_BUILDERS
from sysmonlx.enrich.network import NETWORK_BUILDERS
from sysmonlx.enrich.process import Builder

#: Record name to (event id, builder) pairs.
BUILDERS: dict[str, tuple[tuple[int, Builder], ...]] = {
    **process.BUILDERS,
    **FILE_BUILDERS,
    **NETWORK_BUILDERS,
}
