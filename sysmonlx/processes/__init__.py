# SPDX-License-Identifier: MIT
"""The table of processes: their images, parents and identities."""
