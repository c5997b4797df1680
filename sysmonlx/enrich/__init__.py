# SPDX-License-Identifier: MIT
"""Builders: records in the kernel's words become values in Sysmon's words."""
