# SPDX-License-Identifier: MIT
"""Hashes of files, made by threads beside those that events pass through."""
