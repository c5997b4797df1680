# SPDX-License-Identifier: MIT
"""How does it live? Start, loop, reload, stop; install and remove."""
