# SPDX-License-Identifier: MIT
"""Exit statuses of the command, and its first words."""

from __future__ import annotations

from sysmonlx import __version__

OK = 0

FILE_ERROR = 1

CAPTURE_ERROR = 12

BAD_PARAMETERS = 87

NOT_ROOT = 228

DIFFERENT = 254

WRITE_ERROR = 255

INTERRUPTED = 130

BANNER = (
    f"\nsysmonlx v{__version__} - Monitors system events\n"
    "Sysmon for Linux in Python and eBPF\n"
    "Licensed under MIT (programs) and GPL-2.0 (eBPF)\n\n"
)
