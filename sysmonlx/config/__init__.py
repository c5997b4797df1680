# SPDX-License-Identifier: MIT
"""What did the user write? Configuration files and command lines, read."""
