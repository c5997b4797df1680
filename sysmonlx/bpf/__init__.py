# SPDX-License-Identifier: MIT
"""Our binding of libbpf: objects, maps, rings and types; nothing of Sysmon."""
