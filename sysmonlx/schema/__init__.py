# SPDX-License-Identifier: MIT
"""The events, fields, conditions and options that Sysmon defines, and ours."""
