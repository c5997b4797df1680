# SPDX-License-Identifier: MIT
"""What does Sysmon define? Events, fields, conditions, options; and ours."""
