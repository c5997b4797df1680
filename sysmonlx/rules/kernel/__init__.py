# SPDX-License-Identifier: MIT
"""Is an event wanted? The rules, compiled for the programs in the kernel."""
