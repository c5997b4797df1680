# SPDX-License-Identifier: MIT
"""The way of a record through all other packages, and the books of its fate."""
