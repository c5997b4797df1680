# SPDX-License-Identifier: MIT
"""Sigma rules as compiled packs: data, loading, judging."""
