# SPDX-License-Identifier: MIT
"""Rules, compiled to functions of the daemon; `rules.kernel`: to bits."""
