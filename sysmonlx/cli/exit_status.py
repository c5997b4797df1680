# SPDX-License-Identifier: MIT
"""Exit statuses of commands, and the first words of the program.

`sysmonlx.service.exit_status` has those that commands and the service share.
"""

from __future__ import annotations

from sysmonlx import __version__

FILE_ERROR = 1
"""A file or the service could not be installed, removed, read or written."""
BAD_PARAMETERS = 87
"""The command line or the configuration is wrong, or no service runs."""
INTERRUPTED = 130
NOT_ROOT = 228
DIFFERENT = 254
"""-x: the policy is not that of the file. -selftest: an event is wrong or missing."""
WRITE_ERROR = 255
"""-x, -y: the file could not be written or read, or there are no rules."""

BANNER = (
    f"\nsysmonlx v{__version__} - Monitors system events\n"
    "Sysmon for Linux in Python and eBPF\n"
    "Licensed under MIT (programs) and GPL-2.0 (eBPF)\n\n"
)
