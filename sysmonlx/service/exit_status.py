# SPDX-License-Identifier: MIT
"""Exit statuses of the service; `sysmonlx.cli.exit_status` has those of commands."""

from __future__ import annotations

OK = 0
CAPTURE_ERROR = 12
"""The service could not start to capture."""
