# SPDX-License-Identifier: MIT
"""The kernel's side as Python sees it: programs, hooks, records, counters."""
