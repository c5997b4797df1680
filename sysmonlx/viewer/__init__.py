# SPDX-License-Identifier: MIT
"""How do people read events? The live view, and lines read back."""
