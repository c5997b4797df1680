# SPDX-License-Identifier: MIT
"""The daemon: start, loop, reload, stop; and how it is installed."""
