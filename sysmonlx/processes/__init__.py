# SPDX-License-Identifier: MIT
"""Who was it? Processes, their images and their identities."""
