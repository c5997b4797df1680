# SPDX-License-Identifier: MIT
"""Configuration files and command lines are read here, and become a policy."""
