# SPDX-License-Identifier: MIT
"""The program sysmonlx-sigma."""
