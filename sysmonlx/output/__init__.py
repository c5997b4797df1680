# SPDX-License-Identifier: MIT
"""How and where is an event written?"""
