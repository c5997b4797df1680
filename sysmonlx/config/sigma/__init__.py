# SPDX-License-Identifier: MIT
"""Sigma rules in YAML to packs of compiled rules."""
