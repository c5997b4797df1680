# SPDX-License-Identifier: MIT
"""sysmonlx: Sysmon for Linux in Python and eBPF."""

__version__ = "0.1.0"
