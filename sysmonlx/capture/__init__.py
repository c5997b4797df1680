# SPDX-License-Identifier: MIT
"""What does the kernel tell? Programs, hooks, records, counters."""
