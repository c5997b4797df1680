# SPDX-License-Identifier: MIT
"""Where do lines go, and what becomes of those that cannot be written yet?"""
