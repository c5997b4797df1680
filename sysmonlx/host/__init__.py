# SPDX-License-Identifier: MIT
"""What do we ask the operating system, and how, without waiting for anybody?"""
