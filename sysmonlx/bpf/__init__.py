# SPDX-License-Identifier: MIT
"""How do we talk to libbpf? Objects, maps, rings and types; nothing of Sysmon."""
