# SPDX-License-Identifier: MIT
"""What can be typed?"""
