# SPDX-License-Identifier: MIT
"""Events for people: the live view, and the reader of logs."""
