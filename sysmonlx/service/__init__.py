# SPDX-License-Identifier: MIT
"""The daemon: how it starts (`wiring`), loops, ends, and is installed.

Another policy is put in force, or refused, by `reload`.
"""
