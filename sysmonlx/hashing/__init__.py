# SPDX-License-Identifier: MIT
"""What is in a program file? Hashes, made off the event path."""
