# SPDX-License-Identifier: MIT
"""All calls to the operating system; those that may hang have a thread."""
