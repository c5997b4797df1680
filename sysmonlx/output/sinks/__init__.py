# SPDX-License-Identifier: MIT
"""The destinations of lines; `base` says how to add one, `kinds` lists them."""
