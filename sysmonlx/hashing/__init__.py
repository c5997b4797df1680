# SPDX-License-Identifier: MIT
"""Hashes of files, made by threads beside the one that events pass through.

`hasher` takes requests and gives answers; `file_reading` decides what is hashed.
"""
